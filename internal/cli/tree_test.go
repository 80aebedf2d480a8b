package cli

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"allclear/internal/app"
	"allclear/internal/fault"
	"allclear/internal/netdiag"
)

// tree is the real command tree.
func tree() *cobra.Command {
	var sink bytes.Buffer
	std := Std{In: &sink, Out: &sink, Err: &sink, Now: time.Now}
	c := &commands{std: std, program: Program{Catalogue: app.Catalogue, Policies: app.Policies}, out: newPrinter(&sink, nil, time.Now), talk: newPrinter(&sink, nil, time.Now)}
	return c.root()
}

// parses says why a command line is none of ours, or nil. Nothing is run.
func parses(line string) error {
	words, err := split(line)
	if err != nil {
		return err
	}
	cmd, rest, err := tree().Find(words[1:])
	if err != nil {
		return err
	}
	if cmd.HasSubCommands() {
		return fmt.Errorf("%q needs a further word, not %q", cmd.CommandPath(), rest)
	}
	cmd.InheritedFlags() // merges them
	if err := cmd.ParseFlags(rest); err != nil {
		return err
	}
	if err := cmd.ValidateArgs(cmd.Flags().Args()); err != nil {
		return err
	}
	if slices.Contains([]string{"ack", "fix", "shelve"}, cmd.Name()) && !cmd.Flags().Changed("reason") {
		return fmt.Errorf("%q needs --reason", cmd.CommandPath())
	}
	return nil
}

// split divides a command line as a shell would, as far as remedies use it.
func split(line string) ([]string, error) {
	var words []string
	var word strings.Builder
	quoted, begun := rune(0), false
	for _, r := range line {
		switch {
		case quoted != 0 && r == quoted:
			quoted = 0
		case quoted != 0:
			word.WriteRune(r)
		case r == '\'' || r == '"':
			quoted, begun = r, true
		case r == ' ':
			if begun {
				words = append(words, word.String())
				word.Reset()
				begun = false
			}
		case strings.ContainsRune("|&;<>$`\\", r):
			return nil, fmt.Errorf("a shell would act on %q", r)
		default:
			begun = true
			word.WriteRune(r)
		}
	}
	if quoted != 0 {
		return nil, fmt.Errorf("an open quote")
	}
	if begun {
		words = append(words, word.String())
	}
	return words, nil
}

func TestEveryCommandOfTheCatalogueParses(t *testing.T) {
	seen := 0
	check := func(where string, steps []fault.Remedy) {
		for i, s := range steps {
			if !strings.HasPrefix(s.Command, "allclear ") {
				continue
			}
			seen++
			if err := parses(s.Command); err != nil {
				t.Errorf("%s, step %d: %s: %v", where, i+1, s.Command, err)
			}
		}
	}
	for _, e := range app.Catalogue().All() {
		check(string(e.Code), e.Remedy)
		for _, v := range e.Variants {
			check(string(e.Code)+" ("+v.Name+")", v.Remedy)
		}
	}
	for _, cause := range netdiag.Causes() {
		for i, r := range cause.Remedies() {
			check(fmt.Sprintf("%s, step %d", cause, i+1), []fault.Remedy{{Command: r.Command}})
		}
	}
	if seen < 10 {
		t.Errorf("only %d commands were seen", seen)
	}
}

func TestThatTestCanFail(t *testing.T) {
	for _, line := range []string{
		"allclear", "allclear fault", "allclear falt list", "allclear fault lst", "allclear fault show", "allclear fault ack 3",
		"allclear fault ack 3 --reson x", "allclear status now", "allclear probe ssh a | less", "allclear verify 'x",
	} {
		if parses(line) == nil {
			t.Errorf("%q passes", line)
		}
	}
	for _, line := range []string{"allclear fault fix {resource} --reason 'two words'", "allclear verify", "allclear -o json status"} {
		if err := parses(line); err != nil {
			t.Errorf("%q: %v", line, err)
		}
	}
}

func TestEveryActionOfTheCatalogueExists(t *testing.T) {
	actions := app.Actions()
	check := func(code fault.Code, action string) {
		if action != "" && !slices.Contains(actions, action) {
			t.Errorf("%s: there is no action %q", code, action)
		}
	}
	for _, e := range app.Catalogue().All() {
		for _, s := range e.Remedy {
			check(e.Code, s.Action)
		}
		for _, v := range e.Variants {
			for _, s := range v.Remedy {
				check(e.Code, s.Action)
			}
		}
		if e.Auto != nil {
			check(e.Code, e.Auto.Action)
		}
	}
	if len(actions) == 0 {
		t.Error("there is no action at all")
	}
}

func TestOnlyTheCommandsOfThisStepExist(t *testing.T) {
	var got []string
	var walk func(c *cobra.Command)
	walk = func(c *cobra.Command) {
		if !c.HasSubCommands() {
			got = append(got, strings.TrimPrefix(c.CommandPath(), "allclear "))
		}
		for _, sub := range c.Commands() {
			walk(sub)
		}
	}
	walk(tree())
	want := []string{
		"backup drill", "backup identity", "backup list", "backup password", "backup policy show", "backup restore", "backup run",
		"backup show", "backup trust", "backup verify", "check list", "completion", "config check", "config example", "config schema", "drill",
		"fault ack", "fault explain", "fault fix", "fault history", "fault list", "fault shelve", "fault show", "fault unack",
		"fault unshelve", "fault watch", "fault why", "key create", "key encrypt", "key list", "key lock", "key recovery create",
		"key recovery use", "key recovery validate", "key rekey", "key secret put", "key secret remove", "key unlock", "key volume", "keyserver add", "keyserver list", "keyserver remove",
		"keyserver set", "keyserver show", "keyserver test", "kmip serve", "notify list", "notify test", "page login", "preflight", "probe http", "probe kmip", "probe ssh", "probe tls",
		"run", "status", "support", "verify", "version",
	}
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
}

func TestEveryCommandAndFlagSaysWhatItDoes(t *testing.T) {
	var walk func(c *cobra.Command)
	walk = func(c *cobra.Command) {
		if c.Short == "" {
			t.Errorf("%s says nothing", c.CommandPath())
		}
		c.Flags().VisitAll(func(f *pflag.Flag) {
			if f.Usage == "" {
				t.Errorf("%s --%s says nothing", c.CommandPath(), f.Name)
			}
		})
		for _, sub := range c.Commands() {
			walk(sub)
		}
	}
	walk(tree())
}

func TestMainEndsWithTheCodeOfTheMistake(t *testing.T) {
	for _, args := range [][]string{
		{"nonsense"},
		{"fault", "nonsense"},
		{"status", "--nonsense"},
		{"status", "now"},
		{"status", "-o", "xml"},
		{"fault", "list", "-o", "nagios"},
		{"fault", "list", "--all", "--cleared"},
		{"probe", "ssh"},
		{"help", "nonsense"},
		{"completion", "csh"},
		{"preflight"},
		{"preflight", "--min-tls", "1.1"},
	} {
		var out, talk bytes.Buffer
		code := Main(context.Background(), args, Std{In: &out, Out: &out, Err: &talk, Now: time.Now})
		if code != exitUsage || !strings.HasPrefix(talk.String(), "allclear: ") || out.Len() > 0 {
			t.Errorf("%v: code %d, stderr %q, stdout %q", args, code, talk.String(), out.String())
		}
	}
}
