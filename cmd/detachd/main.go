// Command detachd takes cloud desktops away from people who no longer should
// have them. See the README, or run detachd --help.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
	_ "time/tzdata" // containers have no zones, and Go would take UTC without a word

	"github.com/detachd/detachd/cmd/internal/cli"
)

// version is set by -ldflags "-X main.version=…".
var version = "dev"

func main() {
	signals := []os.Signal{os.Interrupt, syscall.SIGTERM}
	if !signal.Ignored(syscall.SIGHUP) { // nohup ignores it
		signals = append(signals, syscall.SIGHUP)
	}
	ctx, stop := signal.NotifyContext(context.Background(), signals...)
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	program := cli.Program{
		Version: version, Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, LookupEnv: os.LookupEnv,
	}
	os.Exit(program.Run(ctx, os.Args[1:]))
}
