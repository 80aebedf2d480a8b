package cli

import (
	"encoding/json"
	"errors"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"allclear/internal/config"
)

func (c *commands) configCommand() *cobra.Command {
	text := func(use, short string, content func() []byte) *cobra.Command {
		return &cobra.Command{Use: use, Short: short, Args: none, RunE: func(*cobra.Command, []string) error {
			c.out.write(string(content()))
			return nil
		}}
	}
	return noun("config", "Check a configuration, or see how one is written",
		&cobra.Command{
			Use: "check [FILE]", Short: "Report every mistake of a configuration, with its line",
			Long: "Report every mistake of a configuration, with its line. Without FILE it is\n" + strings.Join(usualFiles(), " or ") + ", the first that is there.",
			Args: func(cmd *cobra.Command, args []string) error {
				if len(args) > 1 {
					return usagef(cmd.UseLine(), "%s takes one file", cmd.CommandPath())
				}
				return nil
			},
			RunE: func(_ *cobra.Command, args []string) error {
				if len(args) == 1 {
					return c.checkConfig(args[0])
				}
				for _, file := range usualFiles() {
					if _, err := os.Stat(file); err == nil {
						return c.checkConfig(file)
					}
				}
				return usagef("name it: allclear config check FILE", "there is neither %s", strings.Join(usualFiles(), " nor "))
			},
		},
		text("schema", "Print the JSON schema of the configuration", config.Schema),
		text("example", "Print a configuration with every key explained", func() []byte {
			if c.flags.output != outputJSON {
				return config.Example()
			}
			b, err := json.Marshal(map[string]string{"yaml": string(config.Example())})
			if err != nil {
				panic(err) // a map of strings
			}
			return append(b, '\n')
		}))
}

// usualFiles is where a configuration is looked for when none is named: where
// the packages put it, and here.
func usualFiles() []string { return []string{"/etc/allclear/allclear.yaml", "allclear.yaml"} }

// checkReport is the JSON of "config check".
type checkReport struct {
	File     string           `json:"file"`
	OK       bool             `json:"ok"`
	Mistakes []config.Mistake `json:"mistakes"`
}

func (c *commands) checkConfig(file string) error {
	err := c.program.CheckConfig(file)
	m, isMistakes := errors.AsType[*config.Mistakes](err)
	if err != nil && !isMistakes {
		return err
	}
	if c.flags.output == outputJSON {
		r := checkReport{File: file, OK: err == nil, Mistakes: []config.Mistake{}}
		if err != nil {
			r.Mistakes = m.Items()
		}
		c.out.json(r)
		if err != nil {
			return found{exitUsage}
		}
		return nil
	}
	if err != nil {
		c.talk.line("%s", safeLines(m.Error()))
		return found{exitUsage}
	}
	c.out.line("%s: no mistakes", safe(file))
	return nil
}
