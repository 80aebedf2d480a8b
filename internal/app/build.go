package app

import (
	"fmt"
	"log/slog"
	"net/url"

	"allclear/internal/config"
	"allclear/internal/netdiag"
	"allclear/internal/sshpolicy"
	"allclear/internal/subsystem/host"
	"allclear/internal/subsystem/watch"
)

// watchOptions maps the configuration to what package watch looks at.
func (p *plan) watchOptions(known *sshpolicy.Store, guards *sshpolicy.Guards, log *slog.Logger) (watch.Options, error) {
	o := watch.Options{KnownHosts: known, Guards: guards, Policies: p.policies, Log: log}
	for _, item := range p.Watch.SSH {
		o.SSH = append(o.SSH, watch.SSH{
			Name: item.Name, Address: item.Address, Policy: p.policies[item.Policy],
			Every: item.Interval, Timeout: item.Timeout,
			Pins: p.pins[item.Name], TrustFirst: item.HostKeys.TrustFirst, Login: sshLogin(item.Login),
			Version: sshVersion(item, p.DNS), Dial: p.dialer(),
		})
	}
	for _, item := range p.Watch.TLS {
		o.TLS = append(o.TLS, watch.TLS{
			Name: item.Name, Address: item.Address, Every: item.Interval, Timeout: item.Timeout,
			Target: p.tlsTarget(item), Version: tlsVersion(item, p.DNS),
		})
	}
	for _, item := range p.Watch.Certificates {
		o.Certificates = append(o.Certificates, watch.Certificate{
			Name: item.Name, Path: item.Path, KeyPath: item.Key, RootsPath: item.CA, Names: item.Names,
			Warning: item.Warning, Major: item.Major, Every: item.Interval,
		})
	}
	return o, p.watchTargets(&o)
}

// sshVersion changes with what package watch cannot see of the item.
func sshVersion(item config.SSH, dns config.DNS) string {
	v := fmt.Sprint(dns.Resolvers)
	if l := item.Login; l != nil {
		v += fmt.Sprintf(" %s %s %s", l.User, l.Key.Where(), l.Password.Where())
	}
	return v
}

// tlsVersion changes with every setting of the item. Pointers and secrets look
// the same, or another way, whatever is in them, so they are taken apart.
func tlsVersion(item config.TLS, dns config.DNS) string {
	v := fmt.Sprint(dns.Resolvers, item.ClientKey.Where())
	if h := item.HTTP; h != nil {
		v += fmt.Sprintf(" %+v", *h)
	}
	if l := item.ProxyLogin; l != nil {
		v += " " + l.User + " " + l.Password.Where()
	}
	item.HTTP, item.ProxyLogin = nil, nil
	return fmt.Sprintf("%s %+v", v, item)
}

// sshLogin reads the credential when it is used, never before.
func sshLogin(l *config.Login) func() (sshpolicy.Login, error) {
	if l == nil {
		return nil
	}
	return func() (sshpolicy.Login, error) {
		login := sshpolicy.Login{User: l.User}
		if l.Password.Set() {
			text, err := l.Password.Text()
			login.Password = sshpolicy.Secret(text)
			return login, err
		}
		pem, err := l.Key.Read()
		if err != nil {
			return login, err
		}
		login.Key, err = sshpolicy.ParseKey(pem, nil)
		if err != nil {
			return login, fmt.Errorf("%s: %w", l.Key.Where(), err)
		}
		return login, nil
	}
}

// tlsTarget reads the credentials when they are used, never before.
func (p *plan) tlsTarget(item config.TLS) func() (netdiag.Target, error) {
	resolvers := p.DNS.Resolvers
	return func() (netdiag.Target, error) {
		t := netdiag.Target{
			Address: item.Address, ServerName: item.ServerName, Resolvers: resolvers,
			Timeouts: netdiag.Timeouts{Total: item.Timeout},
		}
		var err error
		for _, f := range []struct {
			ref  interface{ Read() ([]byte, error) }
			set  bool
			into *[]byte
			own  bool
		}{
			{item.CA, item.CA.Set(), &t.Roots, false},
			{item.ClientCert, item.ClientCert.Set(), &t.ClientCert, true},
			{item.ClientKey, item.ClientKey.Set(), &t.ClientKey, true},
		} {
			if !f.set {
				continue
			}
			if *f.into, err = f.ref.Read(); err != nil && f.own {
				return t, fmt.Errorf("%w: %w", watch.ErrOwnCertificate, err)
			}
			if err != nil {
				return t, err
			}
		}
		if t.MinTLS, err = netdiag.ParseTLSVersion(item.MinTLS); err != nil {
			return t, err
		}
		if h := item.HTTP; h != nil {
			t.HTTP = &netdiag.HTTPCheck{Method: h.Method, Path: h.Path, ExpectStatus: h.ExpectStatus}
		}
		t.Proxy, err = proxyURL(item)
		return t, err
	}
}

func proxyURL(item config.TLS) (string, error) {
	if item.Proxy == "" || item.ProxyLogin == nil {
		return item.Proxy, nil
	}
	u, err := url.Parse(item.Proxy)
	if err != nil {
		return "", fmt.Errorf("proxy: %w", err)
	}
	password, err := item.ProxyLogin.Password.Text()
	if err != nil {
		return "", err
	}
	u.User = url.UserPassword(item.ProxyLogin.User, password)
	return u.String(), nil
}

// hostOptions maps the configuration to the thresholds of package host.
func (p *plan) hostOptions(stateDir string, pruner host.Pruner) host.Options {
	return host.Options{
		StateDir: stateDir, DiskEvery: p.Host.Disk.Interval,
		DiskWarning: uint64(max(0, p.Host.Disk.Warning)), DiskMajor: uint64(max(0, p.Host.Disk.Major)),
		ClockEvery: p.Host.Clock.Interval, ClockStep: p.Host.Clock.Step,
		MemoryEvery: p.Host.Memory.Interval, MemoryNeed: uint64(max(0, p.Host.Memory.Need)), Pruner: pruner,
	}
}
