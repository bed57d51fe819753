package cli

import (
	"context"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/detachd/detachd/cmd/internal/app"
	"github.com/detachd/detachd/cmd/internal/server"
	"github.com/detachd/detachd/tasks/api"
)

func (p *Program) codesCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "codes",
		Short: "Explain error codes and readings of desktops",
		Long: `Prints the tables that workers use to decide: what an error of the cloud means and
how it is handled, and what a reading of a desktop means before it is sent, after
a call with an unknown outcome, and after the cloud accepted it. In each table the
first match wins; codes of the configuration come first. A call that may have
taken effect is always ambiguous, whatever the table says.`,
		Example: `  detachd codes
  detachd codes --json | jq '.codes[] | select(.code == "WKS.00010032")'`,
		Args: noArguments,
		RunE: p.run(func(cmd *cobra.Command, _ []string) error {
			v, err := p.codes(cmd.Context())
			if err != nil {
				return err
			}
			if asJSON {
				return printJSON(p.Stdout, v)
			}
			for i, t := range codeTables(v) {
				if i > 0 {
					p.out("")
				}
				if err := p.show(t); err != nil {
					return err
				}
			}
			return nil
		}),
	}
	p.outputFlag(cmd.Flags())
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

// codes asks the server. Without a server the configuration is enough; it needs
// neither projects nor Redis.
func (p *Program) codes(ctx context.Context) (api.Codes, error) {
	if p.serverURL() == "" {
		cfg, err := p.loadConfig()
		return server.Codes(app.Rules(cfg)), err
	}
	c, err := p.connect("")
	if err != nil {
		return api.Codes{}, err
	}
	defer c.close()
	return c.Codes(ctx)
}

func codeTables(v api.Codes) []*table {
	codes := &table{header: []string{"REFUSED", "STATUS", "CODE", "CLASS", "WHY", "WHAT YOU CAN DO"}, whole: true}
	for _, c := range v.Codes {
		status := strconv.Itoa(c.Status)
		switch {
		case c.Status == 0:
			status = ""
		case c.Status < 10:
			status += "xx"
		}
		codes.add(c.Of, status, c.Code, c.Class, c.Why, c.Advice)
	}
	classes := &table{header: []string{"CLASS", "HANDLING", "WHAT YOU CAN DO"}, whole: true}
	for _, c := range v.Classes {
		classes.add(c.Class, c.Does, c.Advice)
	}
	readings := &table{
		header: []string{"READING", "BEFORE SENDING", "OUTCOME UNKNOWN", "ACCEPTED BY CLOUD", "CODE", "WHY", "WHAT YOU CAN DO"}, whole: true,
	}
	for _, r := range v.Readings {
		readings.add(r.Reads, r.Before, r.Unknown, r.After, r.Code, r.Why, r.Advice)
	}
	return []*table{codes, classes, readings}
}
