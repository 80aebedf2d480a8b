package app

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"allclear/internal/api"
	"allclear/internal/atomicfile"
	"allclear/internal/config"
	"allclear/internal/subsystem"
	"allclear/internal/web"
	"allclear/internal/wire"
)

// newPage makes the page and the audit log that it shares with the API.
func (h *house) newPage(p *plan) (err error) {
	if h.audit, err = api.OpenAudit(h.dir); err != nil {
		return err
	}
	h.page, err = web.New(web.Options{
		Agent: h.agent, Node: p.node(), Version: Version().Version,
		Prober: prober{p.prefixes()}, Audit: h.audit, Keeper: keeper{filepath.Join(h.dir, "page-sessions")},
		Works: works{h.agent}, Sinks: h.sinks(), Base: func() string { return "http://" + h.server.Addr() },
		Log: h.log.With(slog.String("subsystem", "page")),
	})
	return err
}

// sinks is the view of who is told, nil when no subsystem tells anybody.
func (h *house) sinks() func(context.Context) ([]wire.NotifySink, error) {
	for _, s := range h.agent.Subsystems() {
		shower, ok := s.(subsystem.Shower)
		if !ok || s.Name() != "notify" {
			continue
		}
		for _, v := range shower.Views() {
			if strings.Trim(v.Path, "/") != "sinks" {
				continue
			}
			return func(ctx context.Context) ([]wire.NotifySink, error) {
				got, err := v.Get(ctx, url.Values{})
				if list, ok := got.(wire.List[wire.NotifySink]); ok {
					return list.Items, err
				}
				return nil, errors.Join(err, fmt.Errorf("the view of the receivers is a %T", got))
			}
		}
	}
	return nil
}

// tokenFile holds the link that opens the page the first time.
const tokenFile = "page-token"

// firstLink leaves a one-time link in the state directory, for the owner only,
// and hands it to Ready, which shows it to a terminal. It is good for ten
// minutes, as every link.
func (h *house) firstLink() string {
	path := filepath.Join(h.dir, tokenFile)
	if h.server.Addr() == "" {
		_ = os.Remove(path) // a link of an earlier run opens nothing
		return ""
	}
	link, err := h.page.Login(login(), api.Admin)
	if err == nil {
		err = atomicfile.WriteFile(path, 0o600, []byte(link.URL+"\n"))
	}
	if err != nil {
		h.log.LogAttrs(context.Background(), slog.LevelWarn, "no link to the page was left", slog.Any("error", err))
		return ""
	}
	return link.URL
}

// login is the name of this process's user.
func login() string { return api.Login(os.Geteuid()) }

// keeper keeps the page's sessions in a file for the owner only.
type keeper struct{ path string }

func (k keeper) Load() ([]byte, error) {
	b, err := os.ReadFile(k.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return b, err
}

func (k keeper) Save(b []byte) error { return atomicfile.WriteFile(k.path, 0o600, b) }

// prober looks for people of the page. It has no credentials of the agent, and
// does not reach what only this host should: link-local neighbours and the
// services that clouds offer their machines, unless the configuration allows
// them.
type prober struct{ allow []netip.Prefix }

// probeTimeout bounds one probe of the page.
const probeTimeout = 30 * time.Second

// metadata are addresses beyond the link-local ones at which clouds hand out
// credentials: AWS over IPv6, Alibaba, Azure, Oracle.
func metadata() []netip.Addr {
	return []netip.Addr{
		netip.MustParseAddr("fd00:ec2::254"), netip.MustParseAddr("100.100.100.200"),
		netip.MustParseAddr("168.63.129.16"), netip.MustParseAddr("192.0.0.192"),
	}
}

func (p prober) permit(a netip.Addr) error {
	a = a.Unmap().WithZone("")
	for _, prefix := range p.allow {
		if prefix.Contains(a) {
			return nil
		}
	}
	if a.IsLinkLocalUnicast() || a.IsMulticast() || a.IsUnspecified() || slices.Contains(metadata(), a) {
		return fmt.Errorf("%s is not for a page to look at: link-local and metadata addresses are refused unless page.probe_allow names them", a)
	}
	return nil
}

// prefixes are what the configuration lets the page's probe look at.
func (p *plan) prefixes() []netip.Prefix {
	var all []netip.Prefix
	for _, text := range p.Page.ProbeAllow {
		if prefix, err := config.ParsePrefix(text); err == nil { // the configuration was checked
			all = append(all, prefix)
		}
	}
	return all
}

// metricsToken reads the token of /metrics, nil when there is none.
func (p *plan) metricsToken() func() (string, error) {
	if !p.Page.MetricsToken.Set() {
		return nil
	}
	return p.Page.MetricsToken.Text
}

// check refuses a target that is written as such an address, before anything is
// sent.
func (p prober) check(target string) error {
	host := target
	if u, err := url.Parse(target); err == nil && u.Host != "" {
		host = u.Hostname()
	} else if ap, err := netip.ParseAddrPort(target); err == nil {
		host = ap.Addr().String()
	} else if i := strings.LastIndexByte(target, ':'); i > 0 && strings.Count(target, ":") == 1 {
		host = target[:i]
	}
	a, err := netip.ParseAddr(strings.Trim(host, "[]"))
	if err != nil {
		return nil // a name: each address is asked about when it is dialed
	}
	return p.permit(a)
}

func (p prober) Policies() []string { return Policies() }

func (p prober) SSH(ctx context.Context, target, policy string) (found wire.SSHProbe, err error) {
	if err := p.check(target); err != nil {
		return found, err
	}
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	err = ProbeSSH(ctx, []string{target}, SSHProbe{Policy: policy, Permit: p.permit}, func(_ int, r wire.SSHProbe) { found = r })
	return found, err
}

func (p prober) Endpoint(ctx context.Context, kind, target string) (found wire.EndpointProbe, err error) {
	if err := p.check(target); err != nil {
		return found, err
	}
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	err = ProbeEndpoints(ctx, []string{target}, EndpointProbe{HTTP: kind == "http", Permit: p.permit}, func(_ int, r wire.EndpointProbe) { found = r })
	return found, err
}
