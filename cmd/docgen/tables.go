package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"allclear/internal/app"
	"allclear/internal/config"
	"allclear/internal/sshpolicy"
)

// keySchema is what of the JSON schema the table shows.
type keySchema struct {
	Description string
	Type        string
	Pattern     string
	Enum        []string
	Minimum     *int
	Maximum     *int
	Default     any
	OneOf       []*keySchema
	Items       *keySchema
	Properties  map[string]*keySchema
	Required    []string
}

func configurationPage(all pages) error {
	var root keySchema
	if err := json.Unmarshal(config.Schema(), &root); err != nil {
		return fmt.Errorf("read the schema: %w", err)
	}
	t := newText()
	t.line("# Configuration\n")
	t.line("One YAML file, given by `allclear run --config FILE`. Everything may be left out. All mistakes are reported at once,")
	t.line("each with its line; `allclear config check FILE` does that without an agent. `allclear config schema` prints the JSON")
	t.line("schema for editors, `allclear config example` the file below.\n")
	t.line("Times are written `90s`, `5m`, `26h` or `30d`, sizes `512MiB` or `2GiB`. A secret never stands in the file, only where")
	t.line("it is: `file:PATH` (relative to the file), `env:NAME` or `cred:NAME` (a credential of the service manager).\n")
	t.line("`SIGHUP` reads the file again: all of it is taken over and what changed is looked at at once, or nothing is and")
	t.line("[system/config-rejected](faults/system/config-rejected.md) says why. Settings that only a restart takes over are named")
	t.line("by the same fault.\n")
	t.line("## Keys\n")
	t.head("Key", "Means", "Values", "Default")
	root.rows(t, "")
	t.line("\n## Example\n")
	t.line("```yaml\n%s```", config.Example())
	all["configuration.md"] = t.String()
	return nil
}

func (k *keySchema) rows(t *text, path string) {
	for _, name := range slices.Sorted(maps.Keys(k.Properties)) {
		p := k.Properties[name]
		at := strings.TrimPrefix(path+"."+name, ".")
		if p.Type == "object" {
			p.rows(t, at)
			continue
		}
		if p.Items != nil && p.Items.Type == "object" {
			t.row(code(at+"[]"), p.Description, "list", "")
			p.Items.rows(t, at+"[]")
			continue
		}
		fallback := ""
		switch {
		case slices.Contains(k.Required, name):
			fallback = "**required**"
		case p.Default != nil:
			fallback = code(fmt.Sprint(p.Default))
		}
		t.row(code(at), strings.ReplaceAll(p.Description, fmt.Sprintf(" to %dB", math.MaxInt64), " up"), p.values(), fallback)
	}
}

func (k *keySchema) values() string {
	switch {
	case len(k.Enum) > 0:
		return codes(k.Enum)
	case k.Minimum != nil && k.Maximum != nil:
		return fmt.Sprintf("%d to %d", *k.Minimum, *k.Maximum)
	case len(k.OneOf) > 0:
		parts := make([]string, len(k.OneOf))
		for i, one := range k.OneOf {
			parts[i] = one.values()
		}
		return strings.Join(parts, " or ")
	case k.Type == "array":
		return "list"
	case strings.HasSuffix(k.Pattern, "([0-9]+ms)?$"):
		return "time"
	case strings.HasSuffix(k.Pattern, "B$"):
		return "size"
	}
	return k.Type
}

func apiPage(all pages) {
	t := newText()
	t.line("# API\n")
	t.line("HTTP over a unix socket; the command line is its first client and uses nothing else. The kernel says who calls: root")
	t.line("and the agent's own user are admin, members of the group `allclear` are viewers (or operators, `api.group_role`),")
	t.line("anyone else is refused. Over TCP, on loopback, only `/healthz` and `/metrics` are served.\n")
	t.line("```console\n$ curl --unix-socket /run/allclear/allclear.sock http://agent/v1/status\n```\n")
	t.head("Request", "Role", "Door", "At most", "Audited", "Does")
	for _, r := range app.Routes() {
		role, timeout := string(r.Role), "stream"
		if role == "" {
			role = "anyone"
		}
		if r.Timeout > 0 {
			timeout = span(r.Timeout)
		}
		t.row(code(r.Method+" "+r.Path), role, string(r.Door), timeout, yes(r.Change), r.Doc)
	}
	t.line("\nAnswers are JSON; keys are snake_case, times RFC 3339 in UTC. A list is `{\"items\":[...],\"next\":\"...\"}`, where `next`")
	t.line("is what to send as `after` for the page that follows. A stream of lines has one JSON object a line. An error is")
	t.line("`{\"error\":{\"code\":\"...\",\"message\":\"...\",\"hint\":\"...\"}}` with a fitting status.\n")
	t.line("`/v1/events` is a stream of server-sent events. The id of an event is its seq; a reader that lost its")
	t.line("connection sends the last one as `Last-Event-ID` and misses nothing.")
	all["api.md"] = t.String()
}

func policiesPage(all pages) {
	t := newText()
	t.line("# SSH policies\n")
	t.line("The built-in algorithm policies, as `policy:` of a watched server and `--policy` of `allclear probe ssh` take them. A")
	t.line("server meets a policy when it offers at least one algorithm of each category; nothing is ever weakened silently. Own")
	t.line("policies stand under `policies` of the [configuration](configuration.md).")
	for _, p := range sshpolicy.Builtins() {
		t.line("\n## %s\n\n%s\n", p.Name, p.Why)
		t.head("Category", "Algorithms, the preferred first")
		t.row("key exchange", codes(p.KEX))
		t.row("host key", codes(p.HostKeys))
		t.row("cipher", codes(p.Ciphers))
		t.row("MAC", codes(p.MACs))
	}
	all["policies.md"] = t.String()
}

func knowledgePage(all pages) {
	t := newText()
	t.line("# SSH knowledge base\n")
	t.line("What `allclear probe ssh`, `allclear preflight` and the remedies of `ssh/*` know about algorithms and releases. The data")
	t.line("is in `internal/sshpolicy/data`, with its sources: the default lists were read from each OpenSSH release from 6.0 on;")
	t.line("the facts about algorithms follow the knowledge base of ssh-audit 3.4 (MIT, Copyright (C) J. Testa). `allclear preflight")
	t.line("--policy P` judges every backup target and watched server against a stricter policy, `--server-upgrade` against what")
	t.line("its software offers by default in the next releases.\n")
	t.line("## What OpenSSH changed in a server's defaults\n")
	t.head("Release", "Category", "Added", "Dropped")
	for _, c := range sshpolicy.DefaultChanges() {
		t.row(c.Version, string(c.Category), codes(c.Added), codes(c.Dropped))
	}
	t.line("\n## Algorithms\n")
	t.line("*First in*: the first version that has it. *Default until*: the last version that offers it unasked. *Sessions*: whose")
	t.line("transport can use it (`transport:` of a backup target).")
	for _, c := range sshpolicy.Categories() {
		t.line("\n### %s\n", c)
		t.head("Algorithm", "First in", "Default until", "Broken", "Weak", "Sessions")
		for _, f := range sshpolicy.Facts() {
			if f.Category == c {
				t.row(code(f.Name), versions(f.Since), versions(f.Dropped), strings.Join(f.Broken, ", "), strings.Join(f.Weak, ", "), sessions(f))
			}
		}
	}
	all["knowledge-base.md"] = t.String()
}

// versions lists software with a version of it, in the order of its name.
func versions(of map[string]string) string {
	var list []string
	for _, software := range slices.Sorted(maps.Keys(of)) {
		list = append(list, software+" "+of[software])
	}
	return strings.Join(list, ", ")
}

func sessions(f sshpolicy.Fact) string {
	var list []string
	if f.Go {
		list = append(list, string(sshpolicy.Go))
	}
	if f.OpenSSH {
		list = append(list, string(sshpolicy.OpenSSH))
	}
	return strings.Join(list, ", ")
}
