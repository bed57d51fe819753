package apiclient_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/detachd/detachd/apiclient"
)

func TestNewNamesTheBadField(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*apiclient.Config){
		"ProjectID": func(c *apiclient.Config) { c.ProjectID = "../" + project[3:] },
		"Region":    func(c *apiclient.Config) { c.Region = "evil.example/x" },
		"Endpoint":  func(c *apiclient.Config) { c.Endpoint = "ftp://host" },
		"Auth":      func(c *apiclient.Config) { c.Auth = nil },
		"Timeout":   func(c *apiclient.Config) { c.Timeout = -1 },
		"UserAgent": func(c *apiclient.Config) { c.UserAgent = "a\r\nb" },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cfg := apiclient.Config{
				ProjectID: project, Region: "ap-southeast-3", Auth: apiclient.StaticToken("t"), Timeout: time.Second,
			}
			_, err := apiclient.New(cfg)
			require.NoError(t, err)
			change(&cfg)
			_, err = apiclient.New(cfg)
			require.ErrorContains(t, err, name)
		})
	}
}

// Plain http to another machine gives credentials to everybody on the way.
func TestPlainHTTPIsForThisMachineOnly(t *testing.T) {
	t.Parallel()
	for endpoint, refused := range map[string]bool{
		"http://127.0.0.1:1": false, "http://127.8.7.6/x": false, "http://[::1]:1": false, "http://localhost:1": false, "http://[::ffff:127.0.0.1]": false,
		"https://workspace.example.com": false, "HTTPS://10.0.0.1": false,
		"http://workspace.example.com": true, "HTTP://10.0.0.1": true, "http://localhost.example.com": true, "http://0.0.0.0": true,
		"http://127.0.0.1.example.com": true, "http://[2001:db8::1]": true,
	} {
		cfg := apiclient.Config{ProjectID: project, Endpoint: endpoint, Auth: apiclient.StaticToken("t")}
		_, err := apiclient.New(cfg)
		require.Equal(t, refused, err != nil, endpoint)
		password := apiclient.PasswordConfig{Endpoint: endpoint, User: "u", Password: "p", Domain: "d", ProjectID: project}
		_, err = apiclient.NewPasswordToken(password)
		require.Equal(t, refused, err != nil, endpoint)
		cfg.AllowHTTP, password.AllowHTTP = true, true
		_, err = apiclient.New(cfg)
		require.NoError(t, err)
		_, err = apiclient.NewPasswordToken(password)
		require.NoError(t, err)
	}
}

func TestNewRefusesAnEndpointThatWouldLeakOrLie(t *testing.T) {
	t.Parallel()
	for _, endpoint := range []string{
		"https://user:hunter2hunter2@host", "https://host?x=1", "https://host#x", "https://", "host", ":", "https://[hunter2hunter2",
	} {
		_, err := apiclient.New(apiclient.Config{
			ProjectID: project, Endpoint: endpoint, Auth: apiclient.StaticToken("t"),
		})
		require.ErrorContains(t, err, "Endpoint", endpoint)
		require.NotContains(t, err.Error(), "hunter2")
	}
}

func TestRefreshedOnceAfter401(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		auth     *renewing
		requests int
		ok       bool
	}{
		"renewed":       {&renewing{tokens: []string{"old", "new"}}, 2, true},
		"still refused": {&renewing{tokens: []string{"old", "old", "new"}}, 2, false},
		"not renewable": {&renewing{tokens: []string{"old"}}, 1, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var bodies []string
			srv := serve(t, func(w http.ResponseWriter, r *http.Request) {
				bodies = append(bodies, bodyOf(r))
				if r.Header.Get("X-Auth-Token") != "new" {
					answer(401, `{"error_code":"APIGW.0301","error_msg":"Incorrect IAM authentication information"}`)(w, r)
					return
				}
				answer(200, `{}`)(w, r)
			})
			_, err := detachOne(t, client(t, srv.URL, func(c *apiclient.Config) { c.Auth = test.auth }))
			require.Len(t, bodies, test.requests)
			for _, body := range bodies {
				require.Equal(t, `{"desktop_ids":["d1"]}`, body)
			}
			if test.ok {
				require.NoError(t, err)
				return
			}
			e := fault(t, err)
			require.True(t, e.AuthFault)
			require.Equal(t, apiclient.EffectNone, e.Effect)
			require.Equal(t, "APIGW.0301", e.Code)
		})
	}
}

// renewing is an Authenticator of somebody else: a list of tokens.
type renewing struct{ tokens []string }

func (r *renewing) Authenticate(req *http.Request, _ []byte) (func() bool, error) {
	req.Header.Set("X-Auth-Token", r.tokens[0])
	return func() bool {
		if len(r.tokens) == 1 {
			return false
		}
		r.tokens = r.tokens[1:]
		return true
	}, nil
}
