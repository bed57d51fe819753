package fakecloud

import (
	"math"
	"time"
)

// Config configures New and Serve. The zero value serves every project without
// authentication, delays or limits. Unless its comment names another default, a field is
// off when it is zero.
type Config struct {
	// Projects are the project ids that exist. Defaults to any, created on first use.
	Projects []string

	// Token is an X-Auth-Token that is always valid.
	Token string
	// Users may request tokens with their password.
	Users []IAMUser
	// AccessKeys maps access keys to secret keys; signatures are verified.
	AccessKeys map[string]string
	// AccessKeyTokens maps temporary access keys to the X-Security-Token they require.
	AccessKeyTokens map[string]string
	// TokenLifetime is how long an issued token is valid. Defaults to 24 hours.
	TokenLifetime time.Duration

	// Latency is the real time from the arrival of a detach or attach call to its effect; each
	// call takes up to Jitter longer.
	Latency, Jitter time.Duration
	// EarlyEffects is the fraction of detach calls, 0 to 1, that take effect on arrival,
	// so that Latency and Jitter delay only their reply. Seed and the number of the call
	// decide which.
	EarlyEffects float64
	// KeepsTime makes a detach call take effect at its normal time even if its client
	// gave up. Otherwise it takes effect as soon as the client gives up.
	KeepsTime bool
	// ReadLatency is the real time that other requests take, except for tokens.
	ReadLatency time.Duration
	// DetachDelay is the time, on Clock, from the acceptance of a detach, or an attach, until the
	// desktop is DEATTACHED; until then it is DEATTACHING.
	DetachDelay time.Duration
	// ReadLag is how long, on Clock, lists show a desktop as it was before its detach
	// took effect, even if its job has ended.
	ReadLag time.Duration
	// JobLag is how long, on Clock, a desktop's part of a job still runs after its detach
	// took effect.
	JobLag time.Duration
	// SuccessJobIDs adds success_job_ids, one per accepted desktop, to replies.
	SuccessJobIDs bool

	// RateLimit is the number of detach and attach calls a second, of all projects together, above
	// which the reply is 429 APIGW.0308. Defaults to no limit.
	RateLimit float64
	// RateBurst is how many calls may arrive at once after a pause. Defaults to RateLimit
	// rounded up.
	RateBurst int
	// RetryAfter is sent with a 429 of RateLimit if above 0, in seconds rounded up.
	RetryAfter time.Duration

	// AutoCreate creates a DEDICATED desktop with a user of its own for every unknown
	// desktop id in a request. It hides the effects of wrong ids: use it only in load
	// tests with more desktops than one can add.
	AutoCreate bool
	// MaxPage is the maximum number of desktops or users in one page of a list, if the
	// limit of a request is larger. Defaults to 500 desktops and all users.
	MaxPage int
	// FuzzyUserNames makes user_names match parts of names, ignoring case. The
	// documentation does not say whether it does.
	FuzzyUserNames bool
	// FuzzyComputerNames does the same for computer_names.
	FuzzyComputerNames bool

	// Shapes change every 200 to something that means the same. Defaults to what Huawei's
	// SDK for Go reads.
	Shapes []Shape

	// Seed determines Jitter, EarlyEffects, and which calls a fault with a Rate affects.
	Seed uint64
	// Clock returns the current time. Defaults to time.Now.
	Clock func() time.Time
	// DiscardLog keeps Requests and Removals empty, for long runs.
	DiscardLog bool
}

// IAMUser may request tokens. Domain is the name of the account.
type IAMUser struct {
	Name, Password, Domain string
}

// withDefaults returns a copy with the defaults filled in.
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

// open reports that requests need no authentication, because no credentials are configured.
func (cfg Config) open() bool {
	return cfg.Token == "" && len(cfg.Users) == 0 && len(cfg.AccessKeys) == 0
}
