package fakecloud

import (
	"math"
	"time"
)

// Config says what the cloud knows and how it behaves. The zero value serves
// every project to everybody, at once and without limits.
type Config struct {
	// Projects are the project ids served. Empty: any, from its first mention.
	Projects []string

	// Token is an X-Auth-Token that is always accepted.
	Token string
	// Users may ask for tokens with their password.
	Users []IAMUser
	// AccessKeys maps access keys to secret keys; signatures are verified.
	AccessKeys map[string]string
	// AccessKeyTokens maps those access keys that are temporary to the
	// X-Security-Token that has to come with them.
	AccessKeyTokens map[string]string
	// TokenLifetime is how long an issued token is accepted. Default 24 h.
	TokenLifetime time.Duration

	// Latency passes between the arrival of a detach call and its effect, in
	// real time; each call waits up to Jitter longer. Default none.
	Latency, Jitter time.Duration
	// EarlyEffects is the fraction of detach calls that take effect when they
	// arrive, so that Latency and Jitter delay their reply only. Which ones
	// depends on Seed and the number of the call. Default none.
	EarlyEffects float64
	// KeepsTime has a detach call whose client gave up take effect when it would
	// have with the client waiting. Default: at once when the client gives up.
	KeepsTime bool
	// ReadLatency passes, in real time, between the arrival of any other request but
	// one for a token, and what its reply says. Default none.
	ReadLatency time.Duration
	// DetachDelay passes, on Clock, from the acceptance of a detach until the
	// desktop is DEATTACHED; it is DEATTACHING in between. 0: when the reply
	// leaves.
	DetachDelay time.Duration
	// ReadLag is how long, on Clock, lists go on showing a desktop as it was before
	// its detach had taken effect, whatever its job says by then.
	ReadLag time.Duration
	// JobLag is how long a desktop's part of a job goes on running after its
	// detach has taken effect.
	JobLag time.Duration
	// SuccessJobIDs adds success_job_ids, one per accepted desktop, to replies.
	SuccessJobIDs bool

	// RateLimit is the number of detach calls a second, of all projects
	// together, above which 429 APIGW.0308 is the answer. 0: no limit.
	RateLimit float64
	// RateBurst is how many calls may come at once after a pause. Default
	// RateLimit rounded up.
	RateBurst int
	// RetryAfter is sent with a 429 of RateLimit when above 0, in seconds
	// rounded up.
	RetryAfter time.Duration

	// AutoCreate makes a DEDICATED desktop, attached to a user of its own, out
	// of every unknown desktop id in a request. It hides whatever comes of wrong
	// ids: it is for loads of more desktops than one would want to add.
	AutoCreate bool
	// MaxPage is the most desktops, or users, of one page of a list, whatever limit says.
	// Default 500, which is also the most that limit may be; of users all.
	MaxPage int
	// FuzzyUserNames makes user_names match parts of names, in any case of
	// letters. The documentation does not say whether it does.
	FuzzyUserNames bool

	// FuzzyComputerNames makes computer_names match parts of names, in any case of
	// letters. The documentation does not say whether it does.
	FuzzyComputerNames bool

	// Seed fixes which calls faults with a Rate hit, Jitter, and EarlyEffects.
	Seed uint64
	// Clock tells the time. Default time.Now.
	Clock func() time.Time
	// DiscardLog keeps Requests and Removals empty, for long runs.
	DiscardLog bool
}

// IAMUser may ask for tokens. Domain is the account's name.
type IAMUser struct {
	Name, Password, Domain string
}

// withDefaults returns a copy in which zero values have their meaning.
func (cfg Config) withDefaults() Config {
	if cfg.TokenLifetime <= 0 {
		cfg.TokenLifetime = 24 * time.Hour
	}
	if cfg.RateBurst <= 0 {
		cfg.RateBurst = max(1, int(math.Ceil(cfg.RateLimit)))
	}
	if cfg.Clock == nil {
		cfg.Clock = time.Now
	}
	return cfg
}

// open reports that nobody has to authenticate, as nobody could.
func (cfg Config) open() bool {
	return cfg.Token == "" && len(cfg.Users) == 0 && len(cfg.AccessKeys) == 0
}
