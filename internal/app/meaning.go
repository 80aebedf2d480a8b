package app

import (
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"

	"allclear/internal/agent"
	"allclear/internal/config"
	"allclear/internal/fault"
	"allclear/internal/sshpolicy"
)

// CheckConfig reads the file and reports every mistake in it; nil if there is
// none. It starts nothing.
func CheckConfig(file string) error {
	_, err := load(file)
	return err
}

// plan is a configuration that was found to make sense.
type plan struct {
	*config.Config
	policies map[string]sshpolicy.Policy
	pins     map[string][]sshpolicy.Pin // by name of the watch.ssh item
}

// load reads a configuration and checks its meaning. An empty file name is the
// configuration of an agent without a file. All mistakes come at once.
func load(file string) (*plan, error) {
	c, mistakes := config.Default(), (*config.Mistakes)(nil)
	if file != "" {
		c, mistakes = config.Load(file)
	}
	p := &plan{Config: c, policies: map[string]sshpolicy.Policy{}, pins: map[string][]sshpolicy.Pin{}}
	if mistakes == nil {
		mistakes = new(config.Mistakes)
	}
	p.checkPolicies(mistakes)
	p.checkSSH(mistakes)
	p.checkTLS(mistakes)
	p.checkBackup(mistakes)
	p.checkKeyServers(mistakes)
	p.checkRemedies(mistakes)
	p.checkNotify(mistakes)
	if err := mistakes.Err(); err != nil {
		return nil, err
	}
	return p, nil
}

func (p *plan) checkPolicies(m *config.Mistakes) {
	for _, b := range sshpolicy.Builtins() {
		p.policies[b.Name] = b
	}
	for i, own := range p.Policies {
		path := fmt.Sprintf("policies[%d]", i)
		if _, taken := p.policies[own.Name]; taken {
			m.Add(path+".name", fmt.Sprintf("a built-in policy is called %q already", own.Name), "choose another name")
			continue
		}
		policy := sshpolicy.Policy{Name: own.Name, Why: own.Reason}
		if own.Base != "" {
			base, known := p.policies[own.Base]
			if !known {
				m.Add(path+".base", unknownPolicy(own.Base), p.policyHint())
				continue
			}
			policy = base
			policy.Name, policy.Why = own.Name, own.Reason
		}
		overlay(&policy.KEX, own.Kex)
		overlay(&policy.HostKeys, own.HostKey)
		overlay(&policy.Ciphers, own.Cipher)
		overlay(&policy.MACs, own.MAC)
		p.policies[own.Name] = policy
		p.checkNames(m, path, policy, own)
	}
}

func overlay(list *[]string, own []string) {
	if own != nil {
		*list = own
	}
}

// checkNames reports every algorithm in the policy's own lists that is unknown
// or that cannot be done. Lists of a built-in base may hold names that only
// servers and other clients can do: they are judged whole and shaken hands with
// in part.
func (p *plan) checkNames(m *config.Mistakes, path string, policy sshpolicy.Policy, own config.Policy) {
	written := map[sshpolicy.Category][]string{
		sshpolicy.KEX: own.Kex, sshpolicy.HostKey: own.HostKey, sshpolicy.Cipher: own.Cipher, sshpolicy.MAC: own.MAC,
	}
	for _, e := range sshpolicy.AlgorithmErrors(policy.Validate(sshpolicy.Go)) {
		if written[e.Category] == nil && own.Base != "" {
			continue
		}
		at := path + "." + string(e.Category)
		if e.Index >= 0 {
			at += fmt.Sprintf("[%d]", e.Index)
		}
		m.Add(at, e.Error(), "")
	}
}

func unknownPolicy(name string) string { return fmt.Sprintf("no policy is called %q", name) }

// policyHint names the policies there are.
func (p *plan) policyHint() string {
	return "there are " + strings.Join(slices.Sorted(maps.Keys(p.policies)), ", ")
}

func (p *plan) checkSSH(m *config.Mistakes) {
	for i, item := range p.Watch.SSH {
		path := fmt.Sprintf("watch.ssh[%d]", i)
		if _, known := p.policies[item.Policy]; !known && !m.Has(path+".policy") {
			m.Add(path+".policy", unknownPolicy(item.Policy), p.policyHint())
		}
		for j, text := range item.HostKeys.Pins {
			pin, err := sshpolicy.ParsePin(text)
			if err != nil {
				m.Add(fmt.Sprintf("%s.host_keys[%d]", path, j), err.Error(), `a pin is "SHA256:...", "ssh-ed25519 SHA256:..." or a known_hosts key`)
				continue
			}
			p.pins[item.Name] = append(p.pins[item.Name], pin)
		}
	}
}

func (p *plan) checkTLS(m *config.Mistakes) {
	files := map[string]bool{}
	for _, item := range p.Watch.Certificates {
		files[item.Name] = true
	}
	for i, item := range p.Watch.TLS {
		path := fmt.Sprintf("watch.tls[%d]", i)
		if files[item.Name] {
			m.Add(path+".name", fmt.Sprintf("a certificate file is called %q too", item.Name), "both have faults certificate/*: choose another name for one")
		}
		if item.Proxy == "" || m.Has(path+".proxy") {
			continue
		}
		if u, err := url.Parse(item.Proxy); err != nil || u.Host == "" {
			m.Add(path+".proxy", "is not the URL of a proxy", "http://host:port or https://host:port")
		}
	}
}

func (p *plan) checkRemedies(m *config.Mistakes) {
	catalogue := Catalogue()
	for i, code := range p.Remedies {
		e, known := catalogue.Get(fault.Code(code))
		switch path := fmt.Sprintf("remedies[%d]", i); {
		case !known:
			m.Add(path, fmt.Sprintf("no fault has the code %q", code), `"allclear fault explain" names them all`)
		case e.Auto == nil:
			m.Add(path, fmt.Sprintf("%s has no automatic remedy", code), `"allclear fault explain CODE" says which have one`)
		}
	}
}

// auto is the set of codes with an automatic remedy that the operator wants.
func (p *plan) auto() map[fault.Code]bool {
	wanted := map[fault.Code]bool{}
	for _, code := range p.Remedies {
		wanted[fault.Code(code)] = true
	}
	return wanted
}

// overrides are the own policies, and the weaker TLS, that somebody wanted for a
// reason and a time.
func (p *plan) overrides() []agent.Override {
	var all []agent.Override
	for _, own := range p.Policies {
		if !own.Until.IsZero() {
			all = append(all, agent.Override{Name: "policy/" + own.Name, Reason: own.Reason, Until: own.Until})
		}
	}
	for _, g := range p.KeyServerGroups {
		if g.LegacyTLS {
			all = append(all, agent.Override{Name: "keyservers/" + g.Name, Reason: g.Reason, Until: g.Until})
		}
	}
	return all
}
