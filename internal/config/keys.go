package config

import (
	"math"
	"time"

	"go.yaml.in/yaml/v4"
)

func (c *Config) keys() []key {
	return []key{
		{
			name: "node", value: anyText(&c.Node, "a name of letters, digits, dots and dashes", CheckName),
			doc: "What this node is called. The host name, when left out.",
		},
		{
			name: "listen", value: anyText(&c.Listen, `a loopback address and a port, such as 127.0.0.1:9191, or "" for none`, checkListen),
			doc: "Where the page, /metrics and /healthz are served over TCP, on loopback only; an empty text for nowhere.",
		},
		{name: "state", value: nested{&c.State}, doc: "Where the journal is and how long it remembers."},
		{name: "limits", value: nested{&c.Limits}, doc: "Bounds of the journal. Reaching one is a fault, never silence."},
		{name: "api", value: nested{&c.API}, doc: "Rights on the unix socket."},
		{name: "page", value: nested{&c.Page}, doc: "The page in a browser."},
		{name: "log", value: nested{&c.Log}, doc: "What the program says about itself on standard error."},
		{name: "checks", value: nested{&c.Checks}, doc: "How looks are run."},
		{
			name: "remedies", doc: "Codes whose automatic remedy may be taken without asking, within its budget.",
			value: texts{&c.Remedies, func(s *string) value { return anyText(s, "a fault code", checkWord) }},
		},
		{name: "dns", value: nested{&c.DNS}, doc: "Who is asked for names."},
		{name: "host", value: nested{&c.Host}, doc: "Thresholds of this host's own prerequisites."},
		{
			name: "policies", value: items[Policy, *Policy]{&c.Policies, func() Policy { return Policy{} }, func(p *Policy) string { return p.Name }},
			doc: "SSH algorithm policies beside the built-in ones.",
		},
		{name: "watch", value: nested{&c.Watch}, doc: "The endpoints to watch."},
		{name: "backup", value: nested{&c.Backup}, doc: "What is backed up, where to and when."},
		{
			name: "keyserver_groups", doc: "Sets of key servers that replicate the same keys. A group that is not named here has the defaults.",
			value: items[KeyServerGroup, *KeyServerGroup]{&c.KeyServerGroups, defaultKeyServerGroup, func(g *KeyServerGroup) string { return g.Name }},
		},
		{
			name: "keyservers", value: items[KeyServer, *KeyServer]{&c.KeyServers, defaultKeyServer, func(k *KeyServer) string { return k.Name }},
			doc: "Key servers, by KMIP over mutual TLS. \"allclear keyserver add\" adds one too, in the state directory.",
		},
		{
			name: "key_socket", value: filePath{&c.KeySocket},
			doc: "A socket that crypttab(5) names in place of a key file: the agent gives systemd-cryptsetup the keys of LUKS2 volumes.",
		},
		{
			name: "notify", value: items[Notify, *Notify]{&c.Notify, func() Notify { return Notify{} }, func(n *Notify) string { return n.Name }},
			doc: "Who is told of faults, of their changes and of their clears.",
		},
	}
}

func (s *State) keys() []key {
	return []key{
		{name: "dir", value: filePath{&s.Dir}, doc: "The state directory. --state-dir on the command line goes before it."},
		{name: "history", value: span(&s.History, day, 3650*day), doc: "How long a cleared fault is remembered."},
		{name: "history_faults", value: integer(&s.HistoryFaults, 100, 1_000_000), doc: "How many cleared faults are remembered at most."},
		{name: "ballast", value: size(&s.Ballast, 0, 1<<30), doc: "Disk space held back so that a full disk can still be recorded; 0B for none."},
	}
}

func (l *Limits) keys() []key {
	return []key{
		{name: "active_faults", value: integer(&l.ActiveFaults, 100, 1_000_000), doc: "Faults that can be active at a time."},
		{name: "sense", value: size(&l.Sense, 256, 64<<10), doc: "Evidence that a fault may carry."},
		{name: "text", value: size(&l.Text, 128, 16<<10), doc: "Text that a fault may carry."},
	}
}

func (a *API) keys() []key {
	return []key{{
		name: "group_role", value: word(&a.GroupRole, RoleViewer, RoleOperator),
		doc: "What members of the system group allclear may do. Root and the agent's own user may do everything.",
	}}
}

func (p *Page) keys() []key {
	return []key{
		{
			name: "hosts", doc: "Names by which it may be asked for besides those of loopback, as a TLS proxy before it would.",
			value: texts{&p.Hosts, func(s *string) value { return anyText(s, "a host name in lower case", checkHost) }},
		},
		{
			name: "probe_allow", doc: "Link-local or metadata addresses that its probe may look at after all.",
			value: texts{&p.ProbeAllow, func(s *string) value { return anyText(s, "an IP address or prefix", checkPrefix) }},
		},
		{name: "metrics_token", value: source{&p.MetricsToken.ref, private}, doc: "Reference to the token that /metrics asks for over TCP."},
	}
}

func (l *Log) keys() []key {
	return []key{{name: "level", value: level(&l.Level), doc: "The least important kind of message that is written."}}
}

func (c *Checks) keys() []key {
	return []key{{name: "parallel", value: integer(&c.Parallel, 1, 1024), doc: "Looks that run at the same time, at most."}}
}

func (n *DNS) keys() []key {
	return []key{{
		name: "resolvers", doc: "Resolvers to ask instead of those of the system.",
		value: texts{&n.Resolvers, func(s *string) value { return address(s, "53", true) }},
	}}
}

func (h *Host) keys() []key {
	return []key{
		{name: "disk", value: nested{&h.Disk}, doc: "Free space of the state directory's file system."},
		{name: "clock", value: nested{&h.Clock}, doc: "Steps of the wall clock."},
		{name: "memory", value: nested{&h.Memory}, doc: "Memory that programs can still get."},
	}
}

func interval(p *time.Duration) key {
	return key{name: "interval", value: span(p, minInterval, maxInterval), doc: "Time between two looks while all is well."}
}

func timeout(p *time.Duration) key {
	return key{name: "timeout", value: span(p, minTimeout, maxTimeout), doc: "The longest that one look may take."}
}

func name(p *string) key {
	return key{
		name: "name", required: true, doc: "what faults and commands call it",
		value: text{
			want: "a name of letters, digits, dots, dashes and underscores", shape: schema{Type: "string", Pattern: namePattern},
			parse: func(s string) error {
				if err := CheckName(s); err != nil {
					return err
				}
				*p = s
				return nil
			},
		},
	}
}

func (k *Disk) keys() []key {
	return []key{
		interval(&k.Interval),
		{name: "warning", value: size(&k.Warning, 1<<20, math.MaxInt64), doc: "Free space below which there is a warning."},
		{name: "major", value: size(&k.Major, 1<<20, math.MaxInt64), doc: "Free space below which it is a major fault."},
	}
}

func (k *Disk) check(d *decoder, path string) {
	if k.Major >= k.Warning {
		d.together(path, []string{"warning", "major"}, "major must be smaller than warning",
			"they are "+FormatSize(k.Major)+" and "+FormatSize(k.Warning))
	}
}

func (k *Clock) keys() []key {
	return []key{
		interval(&k.Interval),
		{name: "step", value: span(&k.Step, 100*time.Millisecond, time.Hour), doc: "A larger jump of the wall clock is a step."},
	}
}

func (k *Memory) keys() []key {
	return []key{
		interval(&k.Interval),
		{name: "need", value: size(&k.Need, 1<<20, math.MaxInt64), doc: "Available memory below which there is a fault."},
	}
}

func (p *Policy) keys() []key {
	list := func(to *[]string) value {
		return texts{to, func(s *string) value { return anyText(s, "the name of an algorithm", checkWord) }}
	}
	return []key{
		name(&p.Name),
		{name: "base", value: anyText(&p.Base, "the name of a policy", checkWord), doc: "The policy whose lists hold where this one has none."},
		{name: "kex", value: list(&p.Kex), doc: "Key exchange algorithms, the preferred one first."},
		{name: "host_key", value: list(&p.HostKey), doc: "Host key algorithms, the preferred one first."},
		{name: "cipher", value: list(&p.Cipher), doc: "Ciphers, the preferred one first."},
		{name: "mac", value: list(&p.MAC), doc: "Message authentication codes, the preferred one first."},
		{name: "reason", value: anyText(&p.Reason, "a sentence", nil), doc: "Why a weaker policy than the built-in ones is needed."},
		{name: "until", value: date(&p.Until), doc: "The last day, in UTC, of a weaker policy."},
	}
}

func (p *Policy) check(d *decoder, path string) {
	if d.written(path, "reason") != d.written(path, "until") {
		d.together(path, []string{"reason", "until"}, "reason and until go together", "a weaker policy needs both")
	}
}

func (w *Watch) keys() []key {
	return []key{
		{name: "ssh", value: items[SSH, *SSH]{&w.SSH, defaultSSH, func(s *SSH) string { return s.Name }}, doc: "SSH servers, each against a policy."},
		{name: "tls", value: items[TLS, *TLS]{&w.TLS, defaultTLS, func(t *TLS) string { return t.Name }}, doc: "TLS and HTTPS endpoints, step by step."},
		{
			name: "certificates", value: items[Certificate, *Certificate]{&w.Certificates, defaultCertificate, func(c *Certificate) string { return c.Name }},
			doc: "Certificate files of other programs.",
		},
	}
}

func (s *SSH) keys() []key {
	return []key{
		name(&s.Name),
		{name: "address", required: true, value: address(&s.Address, "22", false), doc: "host or host:port; the port is 22 when left out"},
		{name: "policy", value: anyText(&s.Policy, "the name of a policy", checkWord), doc: "The algorithm policy that the server must meet."},
		interval(&s.Interval), timeout(&s.Timeout),
		{name: "host_keys", value: hostKeys{&s.HostKeys}, doc: "Pins of the server's host keys, or the word trust-first."},
		{
			name: "login", value: optional[Login, *Login]{&s.Login, func() Login { return Login{} }},
			doc: "Proves that an account works. Without it the watch never authenticates.",
		},
	}
}

func (l *Login) keys() []key {
	return []key{
		{name: "user", required: true, value: anyText(&l.User, "a user name", checkUser), doc: "who logs in"},
		{name: "key", value: source{&l.Key.ref, private}, doc: "Reference to the private key."},
		{name: "password", value: source{&l.Password.ref, private}, doc: "Reference to the password."},
	}
}

func (l *Login) check(d *decoder, path string) {
	key, password := d.written(path, "key"), d.written(path, "password")
	switch {
	case key && password:
		d.wrong.Add(path+".password", "a login has a key or a password, not both", "remove one")
	case !key && !password:
		d.wrong.Add(path, "the login has neither key nor password", "add key: file:PATH or password: file:PATH")
	}
}

func (t *TLS) keys() []key {
	return []key{
		name(&t.Name),
		{name: "address", required: true, value: address(&t.Address, "443", false), doc: "host or host:port; the port is 443 when left out"},
		{name: "server_name", value: anyText(&t.ServerName, "a host name", checkWord), doc: "The name to ask for and to verify. That of the address, when left out."},
		{name: "ca", value: source{&t.CA.ref, public}, doc: "Reference to the bundle of authorities to trust instead of the system's."},
		{name: "client_cert", value: source{&t.ClientCert.ref, public}, doc: "Reference to our certificate, with its chain."},
		{name: "client_key", value: source{&t.ClientKey.ref, private}, doc: "Reference to the key of our certificate."},
		{name: "http", value: optional[HTTP, *HTTP]{&t.HTTP, defaultHTTP}, doc: "The request that the look ends with. Without it the look ends after TLS."},
		{name: "proxy", value: anyText(&t.Proxy, "a URL such as http://proxy.example:3128", checkProxy), doc: "The proxy to go through. Direct, when left out, whatever the environment says."},
		{name: "proxy_login", value: optional[ProxyLogin, *ProxyLogin]{&t.ProxyLogin, func() ProxyLogin { return ProxyLogin{} }}, doc: "Who we are for the proxy."},
		{name: "min_tls", value: word(&t.MinTLS, "1.2", "1.3"), doc: "The oldest version of TLS that is accepted."},
		interval(&t.Interval), timeout(&t.Timeout),
	}
}

func (t *TLS) check(d *decoder, path string) {
	if d.written(path, "client_cert") != d.written(path, "client_key") {
		d.together(path, []string{"client_cert", "client_key"}, "client_cert and client_key go together", "add the other one")
	}
	if t.ProxyLogin != nil && !d.written(path, "proxy") {
		d.wrong.Add(path+".proxy_login", "there is no proxy to log in to", "add proxy: or remove this")
	}
}

func (h *HTTP) keys() []key {
	return []key{
		{name: "method", value: word(&h.Method, "GET", "HEAD", "OPTIONS"), doc: "The method. A look changes nothing, so there are only these."},
		{name: "path", value: anyText(&h.Path, "a path such as /healthz", checkURLPath), doc: "The path, which may carry a query."},
		{name: "expect_status", value: integer(&h.ExpectStatus, 100, 599), doc: "The status that says all is well."},
	}
}

func (l *ProxyLogin) keys() []key {
	return []key{
		{name: "user", required: true, value: anyText(&l.User, "a user name", checkUser), doc: "who logs in"},
		{name: "password", required: true, value: source{&l.Password.ref, private}, doc: "reference to the password"},
	}
}

func (c *Certificate) keys() []key {
	return []key{
		name(&c.Name),
		{name: "path", required: true, value: filePath{&c.Path}, doc: "the certificate in PEM form, with its chain"},
		{name: "key", value: filePath{&c.Key}, doc: "Its private key, to see whether the two belong together."},
		{name: "ca", value: filePath{&c.CA}, doc: "The bundle of authorities that its chain must reach."},
		{
			name: "names", value: texts{&c.Names, func(s *string) value { return anyText(s, "a host name", checkWord) }},
			doc: "Host names that it must be valid for.",
		},
		{name: "warning", value: span(&c.Warning, time.Hour, 3650*day), doc: "Time left below which there is a warning."},
		{name: "major", value: span(&c.Major, time.Hour, 3650*day), doc: "Time left below which it is a major fault."},
		interval(&c.Interval),
	}
}

func (c *Certificate) check(d *decoder, path string) {
	if c.Major >= c.Warning {
		d.together(path, []string{"warning", "major"}, "major must be shorter than warning",
			"they are "+FormatDuration(c.Major)+" and "+FormatDuration(c.Warning))
	}
}

// written reports whether the key stands in the mapping at path, well formed or not.
func (d *decoder) written(path, name string) bool {
	_, ok := d.doc.at[join(path, name)]
	return ok
}

// together records a mistake that lies between keys: at the last of them that is written, and not at all when one of
// them could not be read.
func (d *decoder) together(path string, names []string, message, hint string) {
	at := ""
	for _, n := range names {
		p := join(path, n)
		if d.wrong.Has(p) {
			return
		}
		if d.written(path, n) {
			at = p
		}
	}
	d.wrong.Add(at, message, hint)
}

// hostKeys takes a list of pins or the word trust-first.
type hostKeys struct{ to *HostKeys }

const trustFirst = "trust-first"

func (h hostKeys) decode(d *decoder, n *yaml.Node, path string) {
	if f := d.follow(n); f.Kind == yaml.ScalarNode && !empty(f) {
		if f.Value != trustFirst {
			d.mistake(n, path, "wanted is a list of pins or the word "+trustFirst, `a pin is such as "ssh-ed25519 SHA256:..."`)
			return
		}
		h.to.TrustFirst = true
		return
	}
	texts{&h.to.Pins, func(s *string) value { return anyText(s, `a pin such as "ssh-ed25519 SHA256:..."`, checkFilled) }}.decode(d, n, path)
}

func (h hostKeys) schema() *schema {
	return &schema{OneOf: []*schema{
		{Type: "array", Items: &schema{Type: "string", MinLength: 1}},
		{Type: "string", Enum: []string{trustFirst}},
	}}
}
