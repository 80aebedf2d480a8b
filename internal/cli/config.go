package cli

import (
	"errors"

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
			Use: "check FILE", Short: "Report every mistake of a configuration, with its line", Args: exactly(1, "one file"),
			RunE: func(_ *cobra.Command, args []string) error { return c.checkConfig(args[0]) },
		},
		text("schema", "Print the JSON schema of the configuration", config.Schema),
		text("example", "Print a configuration with every key explained", config.Example))
}

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
