package app

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"allclear/internal/config"
	"allclear/internal/netdiag"
	"allclear/internal/subsystem/keyserver"
	"allclear/internal/wire"
	"allclear/kmip"
)

// checkKeyServers checks what lies between the key servers of the
// configuration: one primary and one profile in each group.
func (p *plan) checkKeyServers(m *config.Mistakes) {
	groups := map[string]bool{}
	for _, g := range p.KeyServerGroups {
		groups[g.Name] = true
	}
	primary, profile := map[string]string{}, map[string]config.KeyServer{}
	for i, s := range p.KeyServers {
		path := fmt.Sprintf("keyservers[%d]", i)
		if len(groups) > 0 && !groups[s.Group] && s.Group != config.MainGroup {
			m.Add(path+".group", fmt.Sprintf("no group is called %q", s.Group), "keyserver_groups lists them")
		}
		if other, two := primary[s.Group]; two && s.Primary {
			m.Add(path+".primary", fmt.Sprintf("%s is the primary of group %s already", other, s.Group), "a group has exactly one")
		}
		if s.Primary {
			primary[s.Group] = s.Name
		}
		if other, seen := profile[s.Group]; seen && other.Profile != s.Profile {
			m.Add(path+".profile", fmt.Sprintf("%s of the same group has profile %s", other.Name, other.Profile), "the servers of a group replicate each other and have one profile")
		} else if !seen {
			profile[s.Group] = s
		}
	}
}

// keyserverOptions maps the configuration to what package keyserver validates.
func (p *plan) keyserverOptions(dir string, keys *os.Root, changed func(context.Context) error, log *slog.Logger) (keyserver.Options, error) {
	o := keyserver.Options{
		Dir: dir, Keys: keys, Node: p.node(), Resolvers: p.DNS.Resolvers, Changed: changed, Log: log, Reference: reference,
		DefaultGroup: func(name string) keyserver.Group {
			g, err := keyserverGroup(config.DefaultKeyServerGroup(name))
			if err != nil {
				panic(fmt.Sprintf("the default group of key servers is wrong: %v", err)) // a defect of this program, found by any test
			}
			return g
		},
	}
	for _, g := range p.KeyServerGroups {
		group, err := keyserverGroup(g)
		if err != nil {
			return o, err
		}
		o.Groups = append(o.Groups, group)
	}
	for _, s := range p.KeyServers {
		o.Servers = append(o.Servers, keyserver.Server{
			Name: s.Name, Address: s.Address, Group: s.Group, Profile: s.Profile, Primary: s.Primary, ServerName: s.ServerName, Pin: s.Pin,
			CA: publicMaterial(s.CA), ClientCert: publicMaterial(s.ClientCert), ClientKey: keyserver.Material{Where: s.ClientKey.Where(), Read: s.ClientKey.Read},
			Version: fmt.Sprint(p.DNS.Resolvers),
		})
	}
	return o, nil
}

func keyserverGroup(g config.KeyServerGroup) (keyserver.Group, error) {
	group := keyserver.Group{
		Name: g.Name, LegacyTLS: g.LegacyTLS, Device: g.Device, Interval: g.Interval, Exception: g.ExceptionInterval,
		Timeout: g.Timeout, Slow: g.Slow, Grace: g.Grace,
	}
	var err error
	if group.MinKMIP, err = kmip.ParseVersion(g.MinKMIP); err != nil {
		return group, err
	}
	group.MinTLS, err = netdiag.ParseTLSVersion(g.MinTLS)
	return group, err
}

func publicMaterial(r config.Ref) keyserver.Material {
	if !r.Set() {
		return keyserver.Material{}
	}
	return keyserver.Material{Where: r.Where(), Read: r.Read}
}

// reference reads what a command names. The client has made paths absolute.
func reference(text string, private bool) (keyserver.Material, error) {
	if path, isFile := strings.CutPrefix(text, "file:"); isFile && !filepath.IsAbs(path) {
		return keyserver.Material{}, fmt.Errorf("%q is not an absolute path", path)
	}
	if private {
		s, err := config.ParseSecret(text, "/")
		return keyserver.Material{Where: s.Where(), Read: s.Read}, err
	}
	r, err := config.ParseRef(text, "/")
	return keyserver.Material{Where: r.Where(), Read: r.Read}, err
}

// KMIPProbe says how to probe key servers. Files are PEM.
type KMIPProbe struct {
	ServerName, Profile, Pin string
	CA                       string // file of the roots; "" is the system's
	Cert, Key                string // files of our certificate
	MinKMIP, MinTLS          string // "1.3" and "1.2" when empty
	LegacyTLS                bool
	Jobs                     int           // targets at a time; <= 0: 64
	Timeout                  time.Duration // of one exchange; 0: the default
}

// ProbeKMIP looks at key servers, HOST:PORT, without an agent or a
// configuration: all steps of a validation but those that need a key. It tells
// of each as it is done, with its place in targets, and fails with
// *[UsageError] before it looks at any.
func ProbeKMIP(ctx context.Context, targets []string, o KMIPProbe, tell func(i int, p wire.KMIPProbe)) error {
	common, err := o.options()
	if err != nil {
		return err
	}
	for _, t := range targets {
		if host, port, err := net.SplitHostPort(t); err != nil || host == "" || port == "" {
			return usagef("write HOST:PORT or [ADDRESS]:PORT; KMIP's own port is 5696", "target %q is no address with a port", t)
		}
	}
	return probeEach(ctx, len(targets), o.Jobs, func(i int) wire.KMIPProbe {
		one := common
		one.Address = targets[i]
		return keyserver.Probe(ctx, one)
	}, tell)
}

func (o KMIPProbe) options() (keyserver.ProbeOptions, error) {
	p := keyserver.ProbeOptions{ServerName: o.ServerName, Profile: o.Profile, Pin: o.Pin, LegacyTLS: o.LegacyTLS, Timeout: o.Timeout}
	var err error
	if o.MinKMIP != "" {
		if p.MinKMIP, err = kmip.ParseVersion(o.MinKMIP); err != nil {
			return p, usagef("--min-kmip takes 1.0 to 1.4, 2.0 or 2.1", "%v", err)
		}
	}
	if o.MinTLS != "" {
		if p.MinTLS, err = netdiag.ParseTLSVersion(o.MinTLS); err != nil {
			return p, usagef("--min-tls takes 1.2 or 1.3", "%v", err)
		}
	}
	if o.Cert == "" || o.Key == "" {
		return p, usagef("give --cert and --key, and --ca for authorities of your own", "a key server wants to see our certificate")
	}
	for _, f := range []struct {
		file string
		into *[]byte
	}{{o.CA, &p.CA}, {o.Cert, &p.Cert}, {o.Key, &p.Key}} {
		if f.file == "" {
			continue
		}
		if *f.into, err = readPEM(f.file); err != nil {
			return p, usagef("", "%v", err)
		}
	}
	return p, nil
}
