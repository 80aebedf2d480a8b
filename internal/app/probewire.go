package app

import (
	"strings"

	"allclear/internal/fault"
	"allclear/internal/netdiag"
	"allclear/internal/sshpolicy"
	"allclear/internal/wire"
)

func wireSSH(r sshpolicy.Result) wire.SSHProbe {
	p := wire.SSHProbe{
		Target: r.Target, Address: r.Address, Reachable: r.Reachable, Banner: r.Banner, Software: r.Software, Policy: r.Policy, OK: r.OK,
		Categories: wire.SSHCategories{
			KEX: wire.SSHList(r.Categories.KEX), HostKey: wire.SSHList(r.Categories.HostKey),
			Cipher: wireDirections(r.Categories.Cipher), MAC: wireDirections(r.Categories.MAC),
		},
		Missing: []string{}, MissingDetail: []wire.SSHGap{},
		Code: r.Code, Qualifier: r.Qualifier, Inconclusive: r.Inconclusive, Error: r.Error,
		Remedy: wireRemedies(r.Remedy, func(s sshpolicy.Remedy) fault.Remedy {
			return fault.Remedy{Text: s.Text, Impact: s.Impact, Command: s.Command}
		}),
		Connections: r.Connections, DurationMS: r.DurationMS,
	}
	for _, c := range r.Missing {
		p.Missing = append(p.Missing, string(c))
	}
	for _, g := range r.MissingDetail {
		p.MissingDetail = append(p.MissingDetail, wire.SSHGap{
			Category: string(g.Category), Direction: string(g.Direction), Offered: g.Offered, Allowed: g.Allowed, Smallest: g.Smallest,
		})
	}
	if k := r.HostKey; k != nil {
		p.HostKey = &wire.SSHHostKey{Type: k.Type, Algorithm: k.Algorithm, Fingerprint: k.Fingerprint, Bits: k.Bits, KnownHosts: k.Line}
	}
	if h := r.Handshake; h != nil {
		p.Handshake = &wire.SSHHandshake{
			Done: h.Done, Why: h.Why, Negotiated: wire.SSHNegotiated(h.Negotiated),
			GroupBits: h.GroupBits, GroupChosenBy: h.GroupChosenBy, Strict: h.Strict,
		}
	}
	for _, pr := range r.Proofs {
		p.Proofs = append(p.Proofs, wire.SSHProof(pr))
	}
	return p
}

func wireDirections(d sshpolicy.Directions) wire.SSHDirections {
	return wire.SSHDirections{C2S: wire.SSHList(d.C2S), S2C: wire.SSHList(d.S2C)}
}

func wireEndpoint(target string, r *netdiag.Report) wire.EndpointProbe {
	p := wire.EndpointProbe{
		Target: target, Address: r.Address, ServerName: r.ServerName, OK: r.OK,
		Code: r.Code(), Qualifier: r.Qualifier(), Cause: string(r.Cause), Step: string(r.Step), Error: r.Detail,
		Remedy: wireRemedies(r.Remedies(), func(s netdiag.Remedy) fault.Remedy {
			command := strings.ReplaceAll(s.Command, "HOST:443", target)
			if command == "allclear verify" {
				command = "" // a probe has no agent to ask
			}
			return fault.Remedy{Text: s.Text, Impact: s.Impact, Command: command}
		}),
		Steps: []wire.LadderStep{}, Warnings: []wire.LadderFinding{}, DurationMS: r.DurationMS,
	}
	for _, s := range r.Steps {
		p.Steps = append(p.Steps, wire.LadderStep{
			Name: string(s.Name), Outcome: string(s.Outcome), Cause: string(s.Cause), Detail: s.Detail,
			Address: s.Address, Family: s.Family, DurationMS: s.DurationMS, Evidence: s.Evidence,
		})
	}
	for _, w := range r.Warnings {
		p.Warnings = append(p.Warnings, wire.LadderFinding{Step: string(w.Step), Cause: string(w.Cause), Detail: w.Detail})
	}
	if t := r.TLS; t != nil {
		p.TLS = &wire.TLSFacts{
			Version: t.Version, Cipher: t.Cipher, Group: t.Group, ALPN: t.ALPN,
			ClientCertAsked: t.ClientCertAsked, AcceptedIssuers: t.AcceptedIssuers, Certificates: []wire.Certificate{},
		}
		for _, c := range t.Peers {
			p.TLS.Certificates = append(p.TLS.Certificates, wire.Certificate{
				Subject: c.Subject, Issuer: c.Issuer, Serial: c.Serial, NotBefore: c.NotBefore, NotAfter: c.NotAfter,
				SHA256: c.SHA256, SPKI: c.SPKI, DNSNames: c.DNSNames,
			})
		}
	}
	if h := r.HTTP; h != nil {
		p.HTTP = &wire.HTTPFacts{Proto: h.Proto, Status: h.Status, ContentType: h.ContentType, Server: h.Server, Location: h.Location}
	}
	return p
}
