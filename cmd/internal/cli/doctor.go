package cli

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/detachd/detachd/cmd/internal/app"
)

// level is the severity of a finding.
type level string

const (
	fine level = "ok"
	warn level = "warn" // works, but needs attention
	bad  level = "bad"  // detaching does not work, or not safely
)

// finding is the result of one check. Next is what to do about it.
type finding struct {
	Check   string `json:"check"`
	Level   level  `json:"level"`
	Message string `json:"message"`
	Next    string `json:"next,omitempty"`
}

// findings are the results of all checks. refused means that credentials were refused.
type findings struct {
	All     []finding `json:"findings"`
	OK      bool      `json:"ok"`
	refused bool
}

func (fs *findings) add(check string, l level, next, format string, args ...any) {
	if next == askDoctor {
		next = "compare the message with the configuration (" + check + "), and look at the log of what answered"
	}
	message := strings.ReplaceAll(fmt.Sprintf(format, args...), "\n", "; ") // of joined errors
	fs.All = append(fs.All, finding{check, l, message, next})
	if l == bad {
		fs.OK = false
	}
}

func (p *Program) doctorCommand() *cobra.Command {
	var asJSON, probe bool
	var ready string
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Check Redis, workers, credentials and clocks",
		Long: `Checks everything that detachd depends on, and says what to do about each finding.
In Redis it does once what a worker does, in keys that it deletes afterwards; it
changes nothing else. The exit code is 0 if nothing is bad, 3 if something is, and
6 if credentials were refused. With a server it checks the server, the API key and
pauses; run doctor where the server runs for the rest.

With --probe it also sends one detach call per project for a desktop that does not
exist (an id of zeros), to check that the credentials allow detaching. A cloud that
checks permissions first answers 403 if they do not; this was not tried against the
real cloud.

With --ready it only asks a server, or a worker with --listen, whether it can write to
Redis. That needs no configuration and no key, and is meant for a container's health
check.`,
		Example: `  detachd doctor --config /etc/detachd/config.yaml
  detachd doctor --probe
  detachd doctor --ready http://127.0.0.1:8080`,
		Args: noArguments,
		RunE: p.run(func(cmd *cobra.Command, _ []string) error {
			fs, err := p.examineAll(cmd.Context(), probe, ready)
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
	cmd.Flags().BoolVar(&probe, "probe", false, "also send a detach call for a desktop that does not exist; not tried against the real cloud")
	cmd.Flags().StringVar(&ready, "ready", "", "only ask the server or worker at this `URL` whether it can write to Redis")
	cmd.MarkFlagsMutuallyExclusive("ready", "probe")
	return cmd
}

func (p *Program) examineAll(ctx context.Context, probe bool, ready string) (findings, error) {
	if ready != "" {
		return p.examineReady(ctx, ready)
	}
	if p.serverURL() != "" {
		if probe {
			return findings{}, usage("run detachd doctor --probe where the configuration is", "--probe does not work with a server")
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

// examine runs all checks, even if some fail.
func (p *Program) examine(ctx context.Context, s *app.Store, probe bool) findings {
	fs := findings{OK: true}
	checkRedis(ctx, s, p.Now, &fs)
	if fs.OK {
		p.checkLimits(ctx, s, &fs)
	}
	for _, alias := range s.Projects {
		p.checkCloud(ctx, s, alias, probe, &fs)
	}
	return fs
}

var levelColours = map[level]string{fine: green, warn: yellow, bad: red}

func (p *Program) printFindings(fs findings) error {
	for _, f := range fs.All {
		word := p.screen(p.Stdout).paint(levelColours[f.Level], fmt.Sprintf("%-5s", f.Level))
		p.out("%s %-20s %s", word, printable(f.Check), printable(f.Message))
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
	return fail(code, "follow the advice above, then run detachd doctor again", "%s to fix", count(n, "problem"))
}

// Limits of clock skew. The cloud refuses signatures that are 15 minutes old; a much
// smaller skew makes times in the record and in logs misleading.
const (
	skewWarn  = 2 * time.Second
	skewCloud = 5 * time.Minute
)

// clocks compares another clock with ours. exact is the measurement error; a skew above most has a
// consequence.
func (fs *findings) clocks(check, whose string, skew, exact, most time.Duration, consequence string) {
	const next = "synchronise both clocks with NTP"
	switch off := skew.Abs() - exact; {
	case off > most:
		fs.add(check, bad, next, "%s differs from ours by %s: %s, and times in the record are wrong", whose,
			skew.Round(time.Second), consequence)
	case off > skewWarn:
		fs.add(check, warn, next, "%s differs from ours by %s", whose, skew.Round(time.Second))
	default:
		fs.add(check, fine, "", "%s agrees with ours", whose)
	}
}
