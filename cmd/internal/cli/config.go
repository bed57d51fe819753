package cli

import (
	"errors"
	stdlog "log"
	"os"

	"github.com/rs/zerolog"

	"github.com/detachd/detachd/cmd/internal/app"
	"github.com/detachd/detachd/cmd/internal/config"
	"github.com/detachd/detachd/cmd/internal/server"
)

// fixConfig is the advice for a configuration that cannot be used.
const fixConfig = "correct the configuration; deploy/config.example.yaml documents every key"

// loadConfig reads the configuration given by --config or the environment.
func (p *Program) loadConfig() (config.Config, error) {
	file := p.configFile
	if file == "" {
		file = p.env("DETACHD_CONFIG")
	}
	cfg, err := config.Load(file, p.LookupEnv)
	if err != nil {
		return cfg, usage(fixConfig, "%w", err)
	}
	return cfg, nil
}

// open opens the store of the configuration. It does not connect yet.
func (p *Program) open() (*app.Store, error) {
	cfg, err := p.loadConfig()
	if err != nil {
		return nil, err
	}
	s, err := app.Open(cfg, p.LookupEnv, p.Version)
	if err != nil {
		return nil, unusable(err)
	}
	return s, nil
}

// unusable explains why the configuration cannot be used.
func unusable(err error) error {
	if errors.Is(err, app.ErrNoProject) {
		return usage("give a configuration with --config or DETACHD_CONFIG, or set HUAWEICLOUD_SDK_AK and related variables; "+
			"detachd demo needs neither", "%w", err)
	}
	return usage(fixConfig, "%w", err)
}

// logger writes the log to stderr.
func (p *Program) logger(cfg config.Log) (zerolog.Logger, error) {
	isTerminal := terminal(p.Stderr)
	log, err := app.NewLogger(cfg, p.Stderr, isTerminal, isTerminal && p.env("NO_COLOR") == "")
	if err == nil && p.Stderr == os.Stderr { // of the process
		// The clients of net/http report to the logger of package log.
		stdlog.SetFlags(0)
		stdlog.SetOutput(server.ErrorLog(log).Writer())
	}
	return log, err
}

// consoleLog is the log of commands that people watch.
func (p *Program) consoleLog() zerolog.Logger {
	log, err := p.logger(config.Log{Level: "info", Format: "console"})
	if err != nil {
		return zerolog.Nop()
	}
	return log
}
