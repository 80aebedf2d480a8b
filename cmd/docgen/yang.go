package main

import (
	"fmt"
	"strings"

	"allclear/internal/agent"
	"allclear/internal/app"
	"allclear/internal/fault"
)

// yangRevision is the date of the identities' form; it changes when the form
// does, or when a code is added.
const yangRevision = "2026-11-22"

// yangModule writes the identities of all codes: a hierarchy below RFC 8632's
// alarm-type-id, an abstract one for each folder of the catalogue.
func yangModule() string {
	var b strings.Builder
	fmt.Fprintf(&b, `// Written by cmd/docgen: change the catalogue, then "make generate".
module %[1]s {
  yang-version 1.1;
  namespace "urn:allclear:alarm-types";
  prefix aca;
  import ietf-alarms {
    prefix al;
    reference "RFC 8632: A YANG Data Model for Alarm Management";
  }
  organization "allclear";
  contact "See the project's SECURITY.md and CONTRIBUTING.md.";
  description
    "An identity for every fault code of allclear. A code is never reused, so an
     identity never changes its meaning. The slash of a code is a full stop here.";
  revision %[2]s {
    description "The codes of the first releases.";
  }
`, agent.AlarmModule, yangRevision)
	seen := map[string]bool{}
	for _, e := range app.Catalogue().All() {
		base := "al:alarm-type-id"
		parts := strings.Split(string(e.Code), "/")
		for i := 1; i < len(parts); i++ {
			name := agent.AlarmIdentity(fault.Code(strings.Join(parts[:i], "/")))
			if !seen[name] {
				seen[name] = true
				identity(&b, name, base, "Abstract: all faults of "+strings.Join(parts[:i], "/")+".")
			}
			base = name
		}
		identity(&b, agent.AlarmIdentity(e.Code), base, e.Title+". "+e.Impact)
	}
	b.WriteString("}\n")
	return b.String()
}

func identity(b *strings.Builder, name, base, description string) {
	quoted := strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(description)
	fmt.Fprintf(b, "  identity %s {\n    base %s;\n    description\n      \"%s\";\n  }\n", name, base, quoted)
}
