package web

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"allclear/internal/wire"
)

// targetRow is a target as the page shows it: what was chosen of what both
// sides have, and the room there.
type targetRow struct {
	wire.BackupTarget
	DOM        string
	Icon, Word string
	Cells      []algorithmCell
	Matrix     []category
	Space      string
	Used       float64 // percent; below 0 when not known
}

// algorithmCell is one category of algorithms.
type algorithmCell struct {
	Name, Icon, Word, Counts string
}

// categories are the rows of the algorithm matrix: what a cipher and a MAC are
// may differ by direction.
var categories = [...]struct{ name, out, back string }{
	{"Key exchange", "kex", ""}, {"Host key", "host_key", ""}, {"Cipher", "cipher_c2s", "cipher_s2c"}, {"MAC", "mac_c2s", "mac_s2c"},
}

func targetRowOf(t wire.BackupTarget) targetRow {
	row := targetRow{BackupTarget: t, DOM: "bt" + digestID(t.Name), Icon: "stale", Word: "Not looked at yet", Used: -1}
	switch t.State {
	case "reached":
		row.Icon, row.Word = "ok", "Reached"
	case "failed":
		row.Icon, row.Word = "critical", "Not reached"
	}
	for _, c := range categories {
		row.Cells = append(row.Cells, cellOf(&t, c.name, c.out, c.back))
		if len(t.Theirs) == 0 {
			continue
		}
		same := c.back == "" || slices.Equal(t.Theirs[c.out], t.Theirs[c.back]) && slices.Equal(t.Ours[c.out], t.Ours[c.back])
		way := "client to server"
		if c.back == "" {
			way = "one for both ways"
		} else if same {
			way = "same list both ways"
		}
		row.Matrix = append(row.Matrix, matrixRow(&t, c.name, way, c.out))
		if !same {
			row.Matrix = append(row.Matrix, matrixRow(&t, c.name, "server to client", c.back))
		}
	}
	if t.Free != nil && t.Total != nil && *t.Total > 0 {
		row.Used = 100 - 100*float64(*t.Free)/float64(*t.Total)
		row.Space = fmt.Sprintf("%s free of %s", size(int64(*t.Free)), size(int64(*t.Total)))
	} else if t.State == "reached" {
		row.Space = "the server does not say"
	} else {
		row.Space = "not known"
	}
	return row
}

func matrixRow(t *wire.BackupTarget, name, way, key string) category {
	return category{Name: name, Way: way, Allowed: marked(t.Ours[key], t.Theirs[key]), Offered: marked(t.Theirs[key], t.Ours[key])}
}

// cellOf says what was chosen, or why nothing was.
func cellOf(t *wire.BackupTarget, name, out, back string) algorithmCell {
	c := algorithmCell{Name: name, Icon: "stale", Word: "not known yet", Counts: "ours " + strconv.Itoa(len(t.Ours[out]))}
	if len(t.Theirs) == 0 {
		return c
	}
	c.Counts = fmt.Sprintf("ours %d, theirs %d", len(t.Ours[out]), len(t.Theirs[out]))
	chosen := pick(t.Chosen, out)
	switch {
	case len(t.Common[out]) == 0 && out == "mac_c2s" && aead(t):
		return algorithmCell{name, "na", "not needed", "the cipher authenticates"}
	case len(t.Common[out]) == 0 || back != "" && len(t.Common[back]) == 0:
		c.Icon, c.Word = "critical", "none in common"
	case t.Chosen == nil:
		c.Icon, c.Word = "ok", strconv.Itoa(len(t.Common[out]))+" in common"
	case chosen == "" && out == "mac_c2s":
		return algorithmCell{name, "na", "not needed", "the cipher authenticates"}
	default:
		c.Icon, c.Word = "ok", chosen
		if other := pick(t.Chosen, back); other != "" && other != chosen {
			c.Word = chosen + ", back " + other
		}
	}
	return c
}

// aead claims that the ciphers both sides have authenticate by themselves.
func aead(t *wire.BackupTarget) bool {
	common := t.Common["cipher_c2s"]
	return len(common) > 0 && !slices.ContainsFunc(common, func(name string) bool {
		return !strings.Contains(name, "gcm") && !strings.Contains(name, "poly1305")
	})
}

// pick is the algorithm of a category; "" when there is none.
func pick(a *wire.BackupAlgorithms, key string) string {
	if a == nil {
		return ""
	}
	return map[string]string{
		"kex": a.KEX, "host_key": a.HostKey, "cipher_c2s": a.CipherC2S, "cipher_s2c": a.CipherS2C, "mac_c2s": a.MACC2S, "mac_s2c": a.MACS2C,
	}[key]
}
