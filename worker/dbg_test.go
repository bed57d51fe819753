package worker_test
import ("os";"github.com/rs/zerolog")
func mk() zerolog.Logger { if os.Getenv("DBG")=="" {return zerolog.Nop()}
 zerolog.TimeFieldFormat="15:04:05.000"
 return zerolog.New(os.Stderr).With().Timestamp().Logger()}
var testLog = mk()
