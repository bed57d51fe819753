// Package cli is the command line of detachd: it reads arguments and files,
// asks the other packages to do the work, and says what came of it. Results go
// to stdout, messages to stderr, and the exit code says how it went.
package cli

import (
	"context"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"
)

// Program is the command line with everything it may touch, so that tests can
// run it.
type Program struct {
	Version   string
	Stdin     io.Reader
	Stdout    io.Writer
	Stderr    io.Writer
	LookupEnv func(string) (string, bool)
	Now       func() time.Time // default time.Now

	configFile string // --config
	serverFlag string // --server
	keyFile    string // --key-file
	begun      bool   // a command's own code has been reached: errors are not about usage any more
}

// Run runs one command line, without the program's name, and returns the exit
// code. When ctx ends, a command that waits stops waiting.
func (p Program) Run(ctx context.Context, args []string) int {
	if p.Now == nil {
		p.Now = time.Now
	}
	root := p.root()
	root.SetArgs(append([]string{}, args...)) // of nil cobra makes the process' own
	root.SetIn(p.Stdin)
	root.SetOut(p.Stdout)
	root.SetErr(p.Stderr)
	if err := p.checkZone(); err != nil {
		return p.report(err)
	}
	cmd, err := root.ExecuteContextC(ctx)
	if err == nil {
		return exitOK
	}
	if !p.begun {
		err = usage("see "+cmd.CommandPath()+" --help", "%w", err)
	}
	return p.report(err)
}

func (p *Program) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "detachd",
		Short: "Takes cloud desktops away from people who no longer should have them",
		Long: `detachd detaches Huawei Cloud Workspace desktops from their users, in bulk, and
keeps a record of what became of every single one.

Try it without a cloud: detachd demo

Commands work on the configured Redis, or with --server or DETACHD_SERVER over the
HTTP API of a server. The key for it is in DETACHD_API_KEY, or in the file that
DETACHD_API_KEY_FILE or --key-file names; its role says what it may do, and its
name is who has asked.

Exit codes: 0 all fine, 1 internal error, 2 wrong usage or input, 3 some
desktops failed, 4 some are held, 5 still running when --wait ended, 6 not
authorised.`,
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.PersistentFlags().StringVar(&p.configFile, "config", "", "configuration `file` (default $DETACHD_CONFIG)")
	root.PersistentFlags().StringVar(&p.serverFlag, "server", "", "work over the HTTP API at that `URL` (default $DETACHD_SERVER; if neither is given: on the configured Redis)")
	root.PersistentFlags().StringVar(&p.keyFile, "key-file", "", "`file` with the key for the server (default: $DETACHD_API_KEY, or the file of $DETACHD_API_KEY_FILE)")
	root.AddCommand(
		p.detachCommand(), p.statusCommand(), p.listCommand(), p.desktopsCommand(), p.failuresCommand(), p.historyCommand(), p.reportCommand(), p.verifyCommand(),
		p.retryCommand(), p.redriveCommand(), p.dismissCommand(), p.cancelCommand(), p.statsCommand(), p.pauseCommand(), p.resumeCommand(), p.codesCommand(), p.doctorCommand(), p.workerCommand(), p.serveCommand(), p.keysCommand(),
		p.demoCommand(), p.devCommand(), p.fakecloudCommand(), p.versionCommand(),
	)
	return root
}

// run is what a command does. Errors before it are wrong usage.
func (p *Program) run(do func(cmd *cobra.Command, args []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		p.begun = true
		return do(cmd, args)
	}
}

// ask is run for commands that ask a server, or what stands in for one.
func (p *Program) ask(do func(cmd *cobra.Command, c *client, args []string) error) func(*cobra.Command, []string) error {
	return p.run(func(cmd *cobra.Command, args []string) error {
		c, err := p.connect("")
		if err != nil {
			return err
		}
		defer c.close()
		return do(cmd, c, args)
	})
}

// say writes a message for people.
func (p *Program) say(format string, args ...any) { fmt.Fprintf(p.Stderr, format+"\n", args...) }

// out writes a line of the result.
func (p *Program) out(format string, args ...any) { fmt.Fprintf(p.Stdout, format+"\n", args...) }

func (p *Program) env(name string) string {
	value, _ := p.LookupEnv(name)
	return value
}

// terminal reports whether w is one.
func terminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

func (p *Program) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  cobra.NoArgs,
		RunE: p.run(func(*cobra.Command, []string) error {
			p.out("detachd %s", p.Version)
			return nil
		}),
	}
}
