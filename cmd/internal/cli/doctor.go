package cli

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/detachd/detachd/cmd/internal/app"
)

// level says how bad a finding is.
type level string

const (
	fine level = "ok"
	warn level = "warn" // works, but somebody should know
	bad  level = "bad"  // detaching does not work, or not safely
)

// finding is one thing that doctor looked at. Next is what to do about it.
type finding struct {
	Check   string `json:"check"`
	Level   level  `json:"level"`
	Message string `json:"message"`
	Next    string `json:"next,omitempty"`
}

// findings collects them. Refused: credentials were.
type findings struct {
	All     []finding `json:"findings"`
	OK      bool      `json:"ok"`
	refused bool
}

func (fs *findings) add(check string, l level, next, format string, args ...any) {
	fs.All = append(fs.All, finding{check, l, fmt.Sprintf(format, args...), next})
	if l == bad {
		fs.OK = false
	}
}

func (p *Program) doctorCommand() *cobra.Command {
	var asJSON, probe bool
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Look for what is wrong with Redis, workers, credentials and clocks",
		Long: `Looks at everything that detachd depends on, and says for each finding what to do.
With Redis it does once what a worker does, in keys that it removes again; apart from
that it changes nothing. Exit code 0 if nothing is bad, 3 if something is, 6 if
credentials were refused. With a server it looks at that and at the key; the rest is
for a doctor on the server's side.

With --probe it also asks, once per project, for the detach of a desktop that does
not exist (the id is all zeros), to see whether the credentials may detach at all. A
cloud that checks rights first answers 403 if they may not; that the real one does so
was not tried.`,
		Args: cobra.NoArgs,
		RunE: p.run(func(cmd *cobra.Command, _ []string) error {
			fs, err := p.examineAll(cmd.Context(), probe)
			if err != nil {
				return err
			}
			if asJSON {
				err = printJSON(p.Stdout, fs)
			} else {
				err = p.printFindings(fs)
			}
			if err != nil {
				return err
			}
			return fs.outcome()
		}),
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	cmd.Flags().BoolVar(&probe, "probe", false, "also ask for the detach of a desktop that does not exist; not tried against the real cloud")
	return cmd
}

func (p *Program) examineAll(ctx context.Context, probe bool) (findings, error) {
	if p.serverURL() != "" {
		if probe {
			return findings{}, usage("run detachd doctor --probe where the configuration is", "a server does not probe for others")
		}
		c, err := p.connect("")
		if err != nil {
			return findings{}, err
		}
		defer c.close()
		return p.examineServer(ctx, c), nil
	}
	s, err := p.open()
	if err != nil {
		return findings{}, err
	}
	defer s.Close()
	return p.examine(ctx, s, probe), nil
}

// examine looks at everything, whatever fails on the way.
func (p *Program) examine(ctx context.Context, s *app.Store, probe bool) findings {
	fs := findings{OK: true}
	checkRedis(ctx, s, p.Now, &fs)
	for _, alias := range s.Projects {
		p.checkCloud(ctx, s, alias, probe, &fs)
	}
	return fs
}

func (p *Program) printFindings(fs findings) error {
	for _, f := range fs.All {
		p.out("%-5s %-20s %s", f.Level, printable(f.Check), printable(f.Message))
		if f.Next != "" {
			p.out("      %-20s → %s", "", printable(f.Next))
		}
	}
	return nil
}

func (fs findings) outcome() error {
	if fs.OK {
		return nil
	}
	n := 0
	for _, f := range fs.All {
		if f.Level == bad {
			n++
		}
	}
	code := exitFailed
	if fs.refused {
		code = exitNotAuthorised
	}
	return fail(code, "do what is said beside each, then run detachd doctor again", "%s to be dealt with", count(n, "finding"))
}

// Limits of clock skew. The cloud refuses signatures that are 15 minutes old;
// much less makes times in the record and in logs misleading.
const (
	skewWarn = 2 * time.Second
	skewBad  = 5 * time.Minute
)

// clocks compares another clock with ours. exact is the error of measurement.
func (fs *findings) clocks(check, whose string, skew, exact time.Duration) {
	const next = "let NTP set the clock of this machine and of the other"
	switch off := skew.Abs() - exact; {
	case off > skewBad:
		fs.add(check, bad, next, "%s is %s off from ours: signatures expire and times in the record are wrong", whose, skew.Round(time.Second))
	case off > skewWarn:
		fs.add(check, warn, next, "%s is %s off from ours", whose, skew.Round(time.Second))
	default:
		fs.add(check, fine, "", "%s agrees with ours", whose)
	}
}
