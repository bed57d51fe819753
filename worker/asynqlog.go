package worker

import (
	"fmt"
	"os"

	"github.com/rs/zerolog"
)

// asynqLog writes asynq's messages to our log.
type asynqLog struct{ log zerolog.Logger }

func (l asynqLog) Debug(args ...any) { l.put(zerolog.DebugLevel, args) }
func (l asynqLog) Info(args ...any)  { l.put(zerolog.DebugLevel, args) } // its start and stop banners
func (l asynqLog) Warn(args ...any)  { l.put(zerolog.WarnLevel, args) }
func (l asynqLog) Error(args ...any) { l.put(zerolog.ErrorLevel, args) }

// Fatal ends the process, as asynq's contract says.
func (l asynqLog) Fatal(args ...any) {
	l.put(zerolog.ErrorLevel, args)
	os.Exit(1)
}

func (l asynqLog) put(level zerolog.Level, args []any) {
	l.log.WithLevel(level).Str("from", "asynq").Msg(fmt.Sprint(args...))
}
