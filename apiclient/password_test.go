package apiclient_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/detachd/detachd/apiclient"
)

const fetchOp = "KeystoneCreateUserTokenByPassword"

// clock is one that tests set.
type clock struct{ now atomic.Pointer[time.Time] }

func newClock() *clock {
	c := &clock{}
	c.set(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC))
	return c
}

func (c *clock) read() time.Time         { return *c.now.Load() }
func (c *clock) set(t time.Time)         { c.now.Store(&t) }
func (c *clock) advance(d time.Duration) { c.set(c.read().Add(d)) }

// iam issues token-1, token-2, … and counts its requests.
type iam struct {
	fetches atomic.Int32
	clock   *clock
	life    time.Duration
}

func (i *iam) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	n := i.fetches.Add(1)
	expires := i.clock.read().Add(i.life).Format("2006-01-02T15:04:05.000000Z")
	answer(201, fmt.Sprintf(`{"token":{"expires_at":%q}}`, expires), "X-Subject-Token", fmt.Sprintf("token-%d", n))(w, r)
}

func passwordToken(t *testing.T, address string, clock *clock, changes ...func(*apiclient.PasswordConfig)) *apiclient.PasswordToken {
	t.Helper()
	cfg := apiclient.PasswordConfig{
		Region: "ap-southeast-3", Endpoint: address + basePath,
		User: "u", Password: "pass<word>&", Domain: "dom", Transport: transport(t), Now: clock.read,
	}
	for _, change := range changes {
		change(&cfg)
	}
	p, err := apiclient.NewPasswordToken(cfg)
	require.NoError(t, err)
	return p
}

// tokenOf is what p would send.
func tokenOf(ctx context.Context, p apiclient.Authenticator) (string, func() bool, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://host", nil)
	if err != nil {
		return "", nil, err
	}
	refresh, err := p.Authenticate(req, nil)
	return req.Header.Get("X-Auth-Token"), refresh, err
}

func TestNewPasswordTokenNamesTheBadField(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*apiclient.PasswordConfig){
		"User":      func(c *apiclient.PasswordConfig) { c.User = "" },
		"Password":  func(c *apiclient.PasswordConfig) { c.Password = "" },
		"Domain":    func(c *apiclient.PasswordConfig) { c.Domain = "" },
		"Region":    func(c *apiclient.PasswordConfig) { c.Region = "" },
		"ProjectID": func(c *apiclient.PasswordConfig) { c.Region, c.Endpoint = "", "https://host" },
		"Endpoint":  func(c *apiclient.PasswordConfig) { c.Endpoint = "host" },
		"Timeout":   func(c *apiclient.PasswordConfig) { c.Timeout = -1 },
		"UserAgent": func(c *apiclient.PasswordConfig) { c.UserAgent = "é" },
	} {
		cfg := apiclient.PasswordConfig{Region: "cn-north-4", User: "u", Password: "p", Domain: "d"}
		_, err := apiclient.NewPasswordToken(cfg)
		require.NoError(t, err)
		change(&cfg)
		_, err = apiclient.NewPasswordToken(cfg)
		require.ErrorContains(t, err, name)
	}
}

func TestPasswordTokenAsks(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		change  func(*apiclient.PasswordConfig)
		project string
	}{
		"region":       {func(*apiclient.PasswordConfig) {}, `{"name":"ap-southeast-3"}`},
		"project name": {func(c *apiclient.PasswordConfig) { c.ProjectName = "p" }, `{"name":"p"}`},
		"project id":   {func(c *apiclient.PasswordConfig) { c.ProjectName, c.ProjectID = "p", project }, `{"id":"` + project + `"}`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var uri, body string
			clock := newClock()
			srv := serve(t, func(w http.ResponseWriter, r *http.Request) {
				uri, body = r.Method+" "+r.RequestURI, bodyOf(r)
				(&iam{clock: clock, life: time.Hour}).ServeHTTP(w, r)
			})
			token, _, err := tokenOf(t.Context(), passwordToken(t, srv.URL, clock, test.change))
			require.NoError(t, err)
			require.Equal(t, "token-1", token)
			require.Equal(t, "POST "+basePath+"/v3/auth/tokens?nocatalog=true", uri)
			require.JSONEq(t, `{"auth":{"identity":{"methods":["password"],"password":{"user":
				{"name":"u","password":"pass<word>&","domain":{"name":"dom"}}}},"scope":{"project":`+test.project+`}}}`, body)
			require.Contains(t, body, "pass<word>&")
		})
	}
}

func TestOneFetchForFiftyCallers(t *testing.T) {
	t.Parallel()
	const callers = 50
	clock := newClock()
	server := &iam{clock: clock, life: time.Hour}
	arrived, release := make(chan struct{}, callers), make(chan struct{})
	srv := serve(t, func(w http.ResponseWriter, r *http.Request) {
		arrived <- struct{}{}
		<-release
		server.ServeHTTP(w, r)
	})
	p := passwordToken(t, srv.URL, clock)

	// One that gives up is answered at once; the fetch that it began goes on.
	impatient, cancel := context.WithCancel(t.Context())
	given := make(chan error)
	go func() {
		_, _, err := tokenOf(impatient, p)
		given <- err
	}()
	<-arrived
	cancel()
	err := <-given
	require.ErrorIs(t, err, context.Canceled)
	require.Equal(t, none, fault(t, err).Effect)
	require.False(t, fault(t, err).AuthFault)

	var all sync.WaitGroup
	for range callers {
		all.Go(func() {
			token, _, err := tokenOf(t.Context(), p)
			if token != "token-1" || err != nil {
				t.Error(token, err)
			}
		})
	}
	close(release)
	all.Wait()
	require.EqualValues(t, 1, server.fetches.Load())
}

func TestTokenIsRenewedBeforeItExpires(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ life, kept time.Duration }{
		"a day":       {24 * time.Hour, 24*time.Hour - 5*time.Minute},
		"six minutes": {6 * time.Minute, 3 * time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			clock := newClock()
			p := passwordToken(t, serve(t, (&iam{clock: clock, life: test.life}).ServeHTTP).URL, clock)
			for _, step := range []struct {
				wait time.Duration
				want string
			}{{0, "token-1"}, {test.kept - time.Second, "token-1"}, {time.Second, "token-2"}, {test.kept - time.Second, "token-2"}} {
				clock.advance(step.wait)
				token, _, err := tokenOf(t.Context(), p)
				require.NoError(t, err)
				require.Equal(t, step.want, token)
			}
		})
	}
}

func TestTokenWithoutAnExpiryIsKeptForADay(t *testing.T) {
	t.Parallel()
	clock := newClock()
	var fetches atomic.Int32
	p := passwordToken(t, serve(t, func(w http.ResponseWriter, r *http.Request) {
		fetches.Add(1)
		answer(201, `{"token":{"expires_at":"soon"}}`, "X-Subject-Token", "t")(w, r)
	}).URL, clock)
	for range 2 {
		_, _, err := tokenOf(t.Context(), p)
		require.NoError(t, err)
		clock.advance(23 * time.Hour)
	}
	require.EqualValues(t, 1, fetches.Load())
}

// A worker's clock that is wrong must not have a token fetched for each call.
func TestTokensOfAClockThatIsWrong(t *testing.T) {
	t.Parallel()
	for name, times := range map[string]string{
		"both times":     `"issued_at":"2026-01-02T03:04:05.000000Z","expires_at":"2026-01-03T03:04:05.000000Z"`,
		"only the end":   `"expires_at":"2026-01-03T03:04:05.000000Z"`,
		"an odd begin":   `"issued_at":"today","expires_at":"2026-01-03T03:04:05.000000Z"`,
		"end and begin":  `"issued_at":"2026-01-03T03:04:05.000000Z","expires_at":"2026-01-02T03:04:05.000000Z"`,
		"not to be read": `"issued_at":5,"expires_at":{}`,
	} {
		clock := newClock()
		clock.advance(25 * time.Hour)
		var fetches atomic.Int32
		p := passwordToken(t, serve(t, func(w http.ResponseWriter, r *http.Request) {
			fetches.Add(1)
			answer(201, `{"token":{`+times+`}}`, "X-Subject-Token", "t")(w, r)
		}).URL, clock)
		for range 5 {
			_, _, err := tokenOf(t.Context(), p)
			require.NoError(t, err, name)
			clock.advance(4 * time.Hour)
		}
		require.EqualValues(t, 1, fetches.Load(), name)
	}
}

func TestConcurrent401sRenewOnce(t *testing.T) {
	t.Parallel()
	const callers = 20
	clock := newClock()
	server := &iam{clock: clock, life: time.Hour}
	idp := serve(t, server.ServeHTTP)
	var together sync.WaitGroup
	together.Add(callers)
	var requests atomic.Int32
	srv := serve(t, func(w http.ResponseWriter, r *http.Request) {
		requests.Add(1)
		if r.Header.Get("X-Auth-Token") == "token-1" {
			together.Done()
			together.Wait() // all are refused with the same token
			answer(401, `{"error_code":"APIGW.0307","error_msg":"The token must be updated."}`)(w, r)
			return
		}
		answer(200, `{}`)(w, r)
	})
	c := client(t, srv.URL, func(c *apiclient.Config) { c.Auth = passwordToken(t, idp.URL, clock) })
	var all sync.WaitGroup
	for range callers {
		all.Go(func() {
			if _, err := detachOne(t, c); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	require.EqualValues(t, 2, server.fetches.Load())
	require.EqualValues(t, 2*callers, requests.Load())
}

func TestLateRefusalOfAnOldTokenKeepsTheNewOne(t *testing.T) {
	t.Parallel()
	clock := newClock()
	p := passwordToken(t, serve(t, (&iam{clock: clock, life: time.Hour}).ServeHTTP).URL, clock)
	_, refreshA, err := tokenOf(t.Context(), p)
	require.NoError(t, err)
	_, refreshB, err := tokenOf(t.Context(), p)
	require.NoError(t, err)
	require.True(t, refreshA())
	token, _, err := tokenOf(t.Context(), p)
	require.NoError(t, err)
	require.Equal(t, "token-2", token)
	require.True(t, refreshB())
	token, _, err = tokenOf(t.Context(), p)
	require.NoError(t, err)
	require.Equal(t, "token-2", token)
}

func TestAPIThatKeepsRefusingIsAnAuthFault(t *testing.T) {
	t.Parallel()
	clock := newClock()
	server := &iam{clock: clock, life: time.Hour}
	idp := serve(t, server.ServeHTTP)
	srv := serve(t, answer(401, `{"error_code":"APIGW.0301"}`))
	c := client(t, srv.URL, func(c *apiclient.Config) { c.Auth = passwordToken(t, idp.URL, clock) })
	_, err := detachOne(t, c)
	require.True(t, fault(t, err).AuthFault)
	require.Equal(t, "DetachInstances", fault(t, err).Op)
	require.EqualValues(t, 2, server.fetches.Load())
}

func TestRefusalByIAMIsNotTriedAgain(t *testing.T) {
	t.Parallel()
	for _, status := range []int{400, 401, 403} {
		t.Run(fmt.Sprint(status), func(t *testing.T) {
			t.Parallel()
			clock := newClock()
			var fetches atomic.Int32
			idp := serve(t, func(w http.ResponseWriter, r *http.Request) {
				fetches.Add(1)
				answer(status, `{"error":{"code":401,"message":"The username or password is wrong.","title":"Unauthorized"}}`)(w, r)
			})
			srv := serve(t, func(http.ResponseWriter, *http.Request) { t.Error("sent without a token") })
			c := client(t, srv.URL, func(c *apiclient.Config) { c.Auth = passwordToken(t, idp.URL, clock) })
			var all sync.WaitGroup
			for range 20 {
				all.Go(func() { _, _ = detachOne(t, c) })
			}
			all.Wait()
			clock.advance(apiclient.RefusalCoolDown - time.Second)
			_, err := detachOne(t, c)
			e := fault(t, err)
			require.Equal(t, apiclient.Error{
				Op: fetchOp, Status: status, Message: "The username or password is wrong.", Effect: none, AuthFault: true,
				Host: strings.TrimPrefix(idp.URL, "http://"),
			}, *e)
			require.EqualValues(t, 1, fetches.Load())

			clock.advance(time.Second)
			_, err = detachOne(t, c)
			require.True(t, fault(t, err).AuthFault)
			require.EqualValues(t, 2, fetches.Load(), "after the cool-down it is tried once more")
		})
	}
}

// A caller that gives up must not leave a refusal unread: each next caller
// would collect another one.
func TestRefusalIsRememberedAlthoughItsCallerLeft(t *testing.T) {
	t.Parallel()
	var fetches atomic.Int32
	arrived, release := make(chan struct{}), make(chan struct{})
	idp := serve(t, func(w http.ResponseWriter, r *http.Request) {
		fetches.Add(1)
		arrived <- struct{}{}
		<-release
		answer(401, `{}`)(w, r)
	})
	p := passwordToken(t, idp.URL, newClock())
	ctx, cancel := context.WithCancel(t.Context())
	left := make(chan error)
	go func() {
		_, _, err := tokenOf(ctx, p)
		left <- err
	}()
	<-arrived
	cancel()
	require.ErrorIs(t, <-left, context.Canceled)
	close(release)
	for range 3 {
		_, _, err := tokenOf(t.Context(), p)
		require.True(t, fault(t, err).AuthFault)
	}
	require.EqualValues(t, 1, fetches.Load())
}

func TestIAMThatIsDownIsNoAuthFault(t *testing.T) {
	t.Parallel()
	cut := func(w http.ResponseWriter, _ *http.Request) { panic(http.ErrAbortHandler) }
	for name, handler := range map[string]http.HandlerFunc{
		"404":       answer(404, `{}`),
		"429":       answer(429, `{}`, "Retry-After", "7"),
		"500":       answer(500, `{}`),
		"503":       answer(503, `{}`),
		"redirect":  answer(302, ``, "Location", "/x"),
		"200":       answer(200, `{}`, "X-Subject-Token", "t"),
		"no token":  answer(201, `{}`),
		"bad token": answer(201, `{}`, "X-Subject-Token", "é"),
		"cut":       cut,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			clock := newClock()
			var down atomic.Bool
			down.Store(true)
			server := &iam{clock: clock, life: time.Hour}
			idp := serve(t, func(w http.ResponseWriter, r *http.Request) {
				if down.Load() {
					handler(w, r)
					return
				}
				server.ServeHTTP(w, r)
			})
			c := client(t, serve(t, answer(200, `{}`)).URL, func(c *apiclient.Config) { c.Auth = passwordToken(t, idp.URL, clock) })
			_, err := detachOne(t, c)
			e := fault(t, err)
			require.Equal(t, fetchOp, e.Op)
			require.Equal(t, none, e.Effect, "the detach never left")
			require.False(t, e.AuthFault)
			if name == "429" {
				require.Equal(t, 7*time.Second, e.RetryAfter)
			}
			down.Store(false)
			_, err = detachOne(t, c)
			require.NoError(t, err, "nothing is remembered")
		})
	}
}
