package cli

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/detachd/detachd/apiclient/fakecloud"
)

// fakecloudCommand is for benchmarks, and for tests that are not written in Go.
func (p *Program) fakecloudCommand() *cobra.Command {
	var listen, project string
	var desktops int
	cfg := fakecloud.Config{DiscardLog: true}
	cmd := &cobra.Command{
		Use:   "fakecloud",
		Short: "Run the fake cloud alone, for tests and benchmarks",
		Long: `Prints its address as one line on stdout and serves any project and token until
stopped. Only the desktops created by --desktops exist.`,
		Hidden: true,
		Args:   noArguments,
		RunE: p.run(func(cmd *cobra.Command, _ []string) error {
			if err := p.localOnly("fakecloud"); err != nil {
				return err
			}
			srv, err := fakecloud.Serve(cfg, listen)
			if err != nil {
				return fail(exitInternal, "choose another --listen address", "%w", err)
			}
			defer srv.Close()
			s := newScene()
			s.addNumbered("", desktops)
			s.stage(srv.Cloud, map[string]string{"": project})
			p.out("%s", srv.URL)
			<-cmd.Context().Done()
			return nil
		}),
	}
	f := cmd.Flags()
	f.StringVar(&listen, "listen", "127.0.0.1:0", "`address` to listen on")
	f.DurationVar(&cfg.Latency, "latency", 0, "`latency` of each detach call")
	f.DurationVar(&cfg.ReadLatency, "read-latency", 0, "`latency` of each reading")
	f.DurationVar(&cfg.Jitter, "jitter", 0, "maximum `jitter` added to the latency")
	f.Float64Var(&cfg.RateLimit, "rate-limit", 0, "detach calls per second above which the answer is 429 (0: no limit)")
	f.DurationVar(&cfg.RetryAfter, "retry-after", time.Second, "`time` in the Retry-After of a 429")
	f.IntVar(&desktops, "desktops", 0, "create desktop-1 to desktop-`n`, of user-1 to user-n")
	f.StringVar(&project, "project-id", fmt.Sprintf("%032x", 1), "project `id` of those desktops")
	f.BoolVar(&cfg.AutoCreate, "auto-create", false, "for load tests: create every desktop that a request names, so that no id is unknown")
	return cmd
}
