// Package cli is the command line of detachd, one file per command. It reads
// arguments and files, lets other packages do the work, and reports the result:
// results go to stdout, messages to stderr, and the exit code tells the outcome.
package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/term"

	"github.com/detachd/detachd/tasks/spans"
)

// Program is the command line with everything that it may touch, so that tests can
// run it.
type Program struct {
	Version   string
	Stdin     io.Reader
	Stdout    io.Writer
	Stderr    io.Writer
	LookupEnv func(string) (string, bool)
	Now       func() time.Time // default time.Now

	configFile string        // --config
	serverFlag string        // --server
	keyFile    string        // --key-file
	quiet      bool          // --quiet
	patience   time.Duration // of a shell that completes; default completionPatience
	wide       bool          // --output wide
	begun      bool          // a command's own code runs: its errors are not about usage
	spans      *spans.Maker  // nil: no spans are asked for
}

// Run runs one command line, without the program's name, and returns the exit code.
// When ctx ends, a command that waits stops waiting.
func (p Program) Run(ctx context.Context, args []string) int {
	if p.Now == nil {
		p.Now = time.Now
	}
	p.patience = cmp.Or(p.patience, completionPatience)
	p.Stdin = &input{p.Stdin, ctx}
	result := &output{Writer: p.Stdout}
	p.Stdout = result
	root := p.root()
	root.SetArgs(append([]string{}, args...)) // for nil, cobra would take those of the process
	root.SetIn(p.Stdin)
	root.SetOut(p.Stdout)
	root.SetErr(p.Stderr)
	strictHelp(root) // after SetOut: completion keeps the output
	if err := p.checkZone(); err != nil {
		return p.printError(err)
	}
	cmd, err := root.ExecuteContextC(ctx)
	switch {
	case result.lost() != nil && (err == nil || !p.begun):
		return p.printError(result.lost())
	case err == nil:
		return exitOK
	case !p.begun:
		err = usage("see "+cmd.CommandPath()+" --help", "%w", err)
	}
	return p.printError(err)
}

func (p *Program) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "detachd",
		Short: "Remove leavers' access to cloud desktops",
		Long: `detachd detaches Huawei Cloud Workspace desktops from their users, in bulk, and
keeps a record of the result for every desktop.

Try it without a cloud: detachd demo

Commands work on the configured Redis, or over the HTTP API of a server with
--server or DETACHD_SERVER. The API key comes from DETACHD_API_KEY, or from the
file given by DETACHD_API_KEY_FILE or --key-file. The role of the key limits what
a command may do, and its name is recorded as the requester.

Tables have at most 50 rows, see --limit, and fit the terminal, see -o wide. With
NO_COLOR set they have no colours. Times are in the zone of TZ.

Exit codes: 0 success, 1 internal error, 2 wrong usage or input, 3 some desktops
failed, 4 some desktops are on hold, 5 still running when --wait ended, 6 not
authorised.

Documentation: https://github.com/detachd/detachd/blob/main/docs/cli.md`,
		Example: `  detachd detach --project hq --user zoe --wait
  detachd status d6i2kg1ksdu9f6fldk0g
  detachd failures`,
		Version:       p.Version,
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.SetVersionTemplate("detachd {{.Version}}\n")
	f := root.PersistentFlags()
	f.StringVar(&p.configFile, "config", "", "configuration `file` (default $DETACHD_CONFIG)")
	f.StringVar(&p.serverFlag, "server", "", "`URL` of a server to work with (default $DETACHD_SERVER; without either: the configured Redis)")
	f.BoolVarP(&p.quiet, "quiet", "q", false, "print results, warnings and errors only")
	f.StringVar(&p.keyFile, "key-file", "", "`file` with the API key (default $DETACHD_API_KEY, or the file of $DETACHD_API_KEY_FILE)")
	addGroup(root, "Detach and follow", p.detachCommand(), p.statusCommand(), p.listCommand(), p.desktopsCommand(),
		p.approveCommand(), p.rejectCommand(), p.cancelCommand(), p.cancellationCommand(),
		p.recallCommand(), p.undoCommand())
	addGroup(root, "Failures", p.failuresCommand(), p.retryCommand(), p.redriveCommand(), p.dismissCommand(), p.codesCommand())
	addGroup(root, "Evidence", p.accessCommand(), p.historyCommand(), p.reportCommand(), p.verifyCommand(), p.auditCommand())
	addGroup(root, "Operate", p.statsCommand(), p.pauseCommand(), p.resumeCommand(), p.scheduleCommand(), p.doctorCommand(),
		p.workerCommand(), p.serveCommand(), p.protectCommand(), p.guardCommand(), p.keysCommand(), p.sessionsCommand())
	addGroup(root, "Try it", p.demoCommand(), p.devCommand(), p.fakecloudCommand())
	addGroup(root, "Help", p.versionCommand())
	root.SetHelpCommandGroupID("Help")
	root.SetCompletionCommandGroupID("Help")
	suggestFlags(root)
	p.addCompletion(root)
	return root
}

// strictHelp makes detachd help and detachd completion refuse what they do not know. By default
// cobra prints help instead, and succeeds: detachd completion bsh > FILE would too.
func strictHelp(root *cobra.Command) {
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd()
	for _, cmd := range root.Commands() {
		switch cmd.Name() {
		case "completion":
			addSubcommands(cmd)
		case "help":
			cmd.Run, cmd.RunE = nil, func(_ *cobra.Command, args []string) error {
				about, rest, err := root.Find(args)
				if err == nil && about.HasSubCommands() {
					err = about.ValidateArgs(rest)
				}
				if err != nil {
					return err
				}
				about.InitDefaultHelpFlag()
				return about.Help()
			}
		}
	}
}

// suggestFlags answers an unknown flag with those of a similar name. Behind a mistyped
// subcommand all its flags are unknown, so that is said first.
func suggestFlags(root *cobra.Command) {
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		if mistyped := cmd.ValidateArgs(cmd.Flags().Args()); cmd.HasSubCommands() && mistyped != nil {
			return mistyped
		}
		if number, ok := errors.AsType[*pflag.InvalidValueError](err); ok && errors.As(err, new(*strconv.NumError)) {
			return fmt.Errorf("--%s %s is not a number", number.GetFlag().Name, shown(number.GetValue()))
		}
		unknown, ok := errors.AsType[*pflag.NotExistError](err)
		if !ok {
			return err
		}
		known := &cobra.Command{SuggestionsMinimumDistance: 2} // cobra compares names of commands only
		cmd.Flags().VisitAll(func(f *pflag.Flag) {
			known.AddCommand(&cobra.Command{Use: f.Name, Run: func(*cobra.Command, []string) {}})
		})
		if near := known.SuggestionsFor(unknown.GetSpecifiedName()); len(near) > 0 {
			return fmt.Errorf("%w: did you mean --%s?", err, strings.Join(near, " or --"))
		}
		return err
	})
}

func addGroup(root *cobra.Command, title string, commands ...*cobra.Command) {
	root.AddGroup(&cobra.Group{ID: title, Title: title + ":"})
	for _, cmd := range commands {
		cmd.GroupID = title
	}
	root.AddCommand(commands...)
}

// addSubcommands makes cmd a command that does nothing by itself. By default cobra
// prints its help for a mistyped subcommand, and succeeds.
func addSubcommands(cmd *cobra.Command, commands ...*cobra.Command) *cobra.Command {
	cmd.AddCommand(commands...)
	cmd.Args = func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 {
			return nil
		}
		hint := ""
		if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
			hint = ": did you mean " + strings.Join(near, " or ") + "?"
		}
		return fmt.Errorf("unknown command %s for %q%s", shown(args[0]), cmd.CommandPath(), hint)
	}
	cmd.SuggestionsMinimumDistance = 2
	cmd.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
	return cmd
}

// noArguments is for commands with flags only.
func noArguments(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return fmt.Errorf("%s takes no arguments, and %s was given", cmd.CommandPath(), shown(args[0]))
	}
	return nil
}

// needs is for commands with one argument, which list prints.
func needs(what, list string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		switch {
		case len(args) == 0:
			return fmt.Errorf("%s is missing: %s (see %s)", what, cmd.UseLine(), list)
		case len(args) > 1:
			return fmt.Errorf("one %s is expected, and %d were given", what, len(args))
		}
		return nil
	}
}

// run wraps the code of a command. Errors before it are about usage.
func (p *Program) run(do func(cmd *cobra.Command, args []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		if err := noEmptyFlags(cmd.Flags()); err != nil {
			return err
		}
		p.begun = true
		return p.traced(cmd, func() error { return do(cmd, args) })
	}
}

// noEmptyFlags refuses flags with an empty value: --expected-user "$WHO" with WHO unset must not
// run as if nobody had been named.
func noEmptyFlags(flags *pflag.FlagSet) (err error) {
	flags.Visit(func(f *pflag.Flag) {
		empty := f.Value.Type() == "string" && f.Value.String() == ""
		if list, ok := f.Value.(pflag.SliceValue); ok {
			empty = len(list.GetSlice()) == 0 || slices.Contains(list.GetSlice(), "")
		}
		if empty {
			err = fmt.Errorf("--%s is empty: give a value, or leave it out", f.Name)
		}
	})
	return err
}

// ask is run for commands that need a client and no own handling of it.
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

// note writes a message that --quiet suppresses.
func (p *Program) note(format string, args ...any) {
	if !p.quiet {
		p.say(format, args...)
	}
}

// say writes a message for people.
func (p *Program) say(format string, args ...any) { fmt.Fprintf(p.Stderr, format+"\n", args...) }

// out writes one line of the result.
func (p *Program) out(format string, args ...any) { fmt.Fprintf(p.Stdout, format+"\n", args...) }

func (p *Program) env(name string) string {
	value, _ := p.LookupEnv(name)
	return value
}

// terminal reports whether w is a terminal.
func terminal(w io.Writer) bool {
	f, ok := fileOf(w)
	return ok && term.IsTerminal(int(f.Fd()))
}

// fileOf is the file that w writes to.
func fileOf(w io.Writer) (*os.File, bool) {
	if o, ok := w.(*output); ok {
		w = o.Writer
	}
	f, ok := w.(*os.File)
	return f, ok
}

// input is stdin. Its reads end with ctx: somebody who is asked something presses ctrl-C.
type input struct {
	io.Reader
	ctx context.Context
}

func (i *input) Read(b []byte) (int, error) {
	type answer struct {
		text []byte
		err  error
	}
	read := make(chan answer, 1)
	go func() {
		text := make([]byte, len(b)) // b is the caller's again once ctx has ended
		n, err := i.Reader.Read(text)
		read <- answer{text[:n], err}
	}()
	select {
	case <-i.ctx.Done():
		return 0, i.ctx.Err()
	case a := <-read:
		return copy(b, a.text), a.err
	}
}

// output is stdout. It keeps the first error of writing: a key that is shown once, or the id of an
// operation, may be lost.
type output struct {
	io.Writer
	mu  sync.Mutex
	err error
}

func (o *output) Write(b []byte) (int, error) {
	n, err := o.Writer.Write(b)
	if err != nil {
		err = fail(exitInternal, "check the disk, or where the output goes; what the command did stays done, so look before you run it again",
			"the result could not be written: %w", err)
		o.mu.Lock()
		defer o.mu.Unlock()
		o.err = cmp.Or(o.err, err)
	}
	return n, err
}

func (o *output) lost() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.err
}

func (p *Program) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "version",
		Short:   "Print the version",
		Example: "  detachd version",
		Args:    noArguments,
		RunE: p.run(func(*cobra.Command, []string) error {
			p.out("detachd %s", p.Version)
			return nil
		}),
	}
}
