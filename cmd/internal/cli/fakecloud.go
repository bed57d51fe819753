package cli

import (
	"time"

	"github.com/spf13/cobra"

	"github.com/detachd/detachd/apiclient/fakecloud"
)

// fakecloudCommand serves benchmarks, and tests of people who do not write Go.
func (p *Program) fakecloudCommand() *cobra.Command {
	var listen string
	cfg := fakecloud.Config{DiscardLog: true}
	cmd := &cobra.Command{
		Use:    "fakecloud",
		Short:  "Run the fake cloud alone, for tests and benchmarks",
		Long:   "Prints the address as one line on stdout and serves every project and token until stopped.",
		Hidden: true,
		Args:   cobra.NoArgs,
		RunE: p.run(func(cmd *cobra.Command, _ []string) error {
			if err := p.localOnly("fakecloud"); err != nil {
				return err
			}
			srv, err := fakecloud.Serve(cfg, listen)
			if err != nil {
				return fail(exitInternal, "choose another --listen address", "%w", err)
			}
			defer srv.Close()
			p.out("%s", srv.URL)
			<-cmd.Context().Done()
			return nil
		}),
	}
	f := cmd.Flags()
	f.StringVar(&listen, "listen", "127.0.0.1:0", "`address` to listen on")
	f.DurationVar(&cfg.Latency, "latency", 0, "of each detach call")
	f.DurationVar(&cfg.Jitter, "jitter", 0, "most that is added to the latency")
	f.Float64Var(&cfg.RateLimit, "rate-limit", 0, "detach calls a second above which the answer is 429 (0: no limit)")
	f.DurationVar(&cfg.RetryAfter, "retry-after", time.Second, "sent with a 429")
	f.BoolVar(&cfg.AutoCreate, "auto-create", false, "have every desktop that a call names")
	return cmd
}
