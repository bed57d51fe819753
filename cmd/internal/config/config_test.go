package config

import (
	"crypto/tls"
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"github.com/detachd/detachd/apiclient"
	"github.com/detachd/detachd/deploy"
	"github.com/detachd/detachd/tasks"
)

func env(pairs ...string) func(string) (string, bool) {
	m := map[string]string{}
	for i := 0; i < len(pairs); i += 2 {
		m[pairs[i]] = pairs[i+1]
	}
	return func(name string) (string, bool) { v, ok := m[name]; return v, ok }
}

func write(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "config.yaml")
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	return path
}

const oneProject = `
credentials:
  - {name: main, kind: token, token: {env: T}}
projects:
  - alias: hq
    project_id: 00000000000000000000000000000001
    region: ap-southeast-3
    credentials: main
`

// The example is the reference: apart from its projects it is the defaults, its
// first project has the default limits, and it names every key that there is.
func TestExampleIsTheDefaults(t *testing.T) {
	t.Parallel()
	path := write(t, string(deploy.ExampleConfig))
	got, err := Load(path, env())
	require.NoError(t, err)
	require.Len(t, got.Projects, 2)
	for _, p := range got.Projects {
		require.Equal(t, DefaultLimits(), p.Limits)
		require.Equal(t, DefaultApproval(), p.Approval)
	}
	for _, c := range got.Credentials {
		want := DefaultCredential()
		require.Equal(t, [3]int{want.CallsPerMinute, want.ReadsPerMinute, want.Burst}, [3]int{c.CallsPerMinute, c.ReadsPerMinute, c.Burst})
	}
	got.Projects, got.Credentials = nil, nil
	require.Equal(t, Defaults(), got)
	for _, key := range keysOf(reflect.TypeFor[Config]()) {
		require.Regexp(t, `(?m)[\s{#]`+key+`:`, string(deploy.ExampleConfig), "the key %s is not documented", key)
	}
	for _, name := range []string{
		"DETACHD_CONFIG", "DETACHD_REDIS_URL", "DETACHD_REDIS_PASSWORD", "DETACHD_WORKER_ID", "DETACHD_LOG_LEVEL", "DETACHD_LOG_FORMAT", "DETACHD_RETENTION",
	} {
		require.Contains(t, string(deploy.ExampleConfig), name)
	}
}

// fieldComments calls do with the comment of each field that has a key. A field without one
// has that of the fields above it.
func fieldComments(t *testing.T, file string, do func(typ, field, comment string, own bool)) {
	t.Helper()
	parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ParseComments)
	require.NoError(t, err)
	ast.Inspect(parsed, func(n ast.Node) bool {
		spec, _ := n.(*ast.TypeSpec)
		if spec == nil {
			return true
		}
		comment := ""
		if fields, ok := spec.Type.(*ast.StructType); ok {
			for _, f := range fields.Fields.List {
				if f.Tag == nil || f.Tag.Value == "`yaml:\"-\"`" {
					continue
				}
				own := f.Doc.Text() + f.Comment.Text()
				if own != "" {
					comment = strings.ReplaceAll(own, "\n", " ")
				}
				do(spec.Name.Name, f.Names[0].Name, comment, own != "")
			}
		}
		return false
	})
}

// The comment of each key says that it is required, or the default that it has, in the
// notation of the file.
func TestCommentsHaveTheDefaults(t *testing.T) {
	t.Parallel()
	def := Defaults()
	values := map[string]reflect.Value{}
	for _, v := range []any{
		def, Code{}, def.Redis, TLS{}, Project{UnknownUsers: tasks.HoldUnknown}, DefaultCredential(), DefaultLimits(), DefaultApproval(),
		DefaultApproval().Canary, DefaultApproval().StopLoss, Require{}, Protected{}, Blackout{}, def.Worker, def.Log, SecretRef{},
	} {
		values[reflect.TypeOf(v).Name()] = reflect.ValueOf(v)
	}
	says := regexp.MustCompile(`Defaults? to (\S+?)[.,]?(?:\s|$)`)
	check := func(typ, field, comment string, own bool) {
		v := values[typ].FieldByName(field)
		if _, nested := values[v.Type().Name()]; nested && v.Type() != reflect.TypeFor[SecretRef]() {
			return // its own fields have comments
		}
		require.True(t, own || strings.Contains(comment, field), "%s.%s has no comment", typ, field)
		got := ""
		if m := says.FindStringSubmatch(comment); m != nil {
			got = m[1]
		} else {
			require.Regexp(t, `[Rr]equired`, comment, "%s.%s: neither a default nor required", typ, field)
		}
		switch x := v.Interface().(type) {
		case time.Duration:
			d, err := time.ParseDuration(got)
			require.NoError(t, err, "%s.%s: %s", typ, field, got)
			require.Equal(t, x, d, "%s.%s", typ, field)
		case apiclient.Secret:
			require.Equal(t, x.Reveal(), got, "%s.%s", typ, field)
		default:
			if v.IsZero() {
				require.Contains(t, []string{"", `""`, "none", "0", "false"}, got, "%s.%s", typ, field)
			} else {
				require.Equal(t, fmt.Sprint(x), got, "%s.%s", typ, field)
			}
		}
	}
	fieldComments(t, "config.go", check)
	fieldComments(t, "secret.go", check)
	fieldComments(t, "protected.go", check)
	fieldComments(t, "blackouts.go", check)
}

func keysOf(t reflect.Type) []string {
	var out []string
	if t.Kind() == reflect.Slice || t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if t.Kind() != reflect.Struct {
		return nil
	}
	for f := range t.Fields() {
		if key := f.Tag.Get("yaml"); key != "" && key != "-" {
			out = append(append(out, key), keysOf(f.Type)...)
		}
	}
	return out
}

// The defaults in the tables of the page are those of the example.
func TestTablesHaveTheDefaults(t *testing.T) {
	t.Parallel()
	var example yaml.Node
	require.NoError(t, yaml.Unmarshal(deploy.ExampleConfig, &example))
	values := map[string]string{} // by path without the numbers of items, of the first item
	var walk func(n *yaml.Node, path string)
	walk = func(n *yaml.Node, path string) {
		switch n.Kind {
		case yaml.ScalarNode:
			if _, ok := values[path]; !ok {
				values[path] = n.Value
			}
		case yaml.MappingNode:
			for i := 0; i < len(n.Content); i += 2 {
				walk(n.Content[i+1], path+"."+n.Content[i].Value)
			}
		default:
			for _, item := range n.Content {
				walk(item, path)
			}
		}
	}
	walk(&example, "")
	page, err := os.ReadFile("../../../docs/configuration.md")
	require.NoError(t, err)
	rows := 0
	for _, table := range regexp.MustCompile(`(?m)^\| key[^|]* \| default \|.*\n\|-.*\n((?:\|.*\n)+)`).FindAllStringSubmatch(string(page), -1) {
		for _, row := range regexp.MustCompile("(?m)^\\| `([^`]+)` \\| ([^|]*) \\|").FindAllStringSubmatch(table[1], -1) {
			path := "" // the shortest: desktops is that of approval, not of its canary
			for p := range values {
				if strings.HasSuffix(p, "."+row[1]) && (path == "" || len(p) < len(path)) {
					path = p
				}
			}
			require.NotEmpty(t, path, "no key %s", row[1])
			require.Equal(t, values[path], strings.Trim(row[2], `"`), path)
			rows++
		}
	}
	require.Equal(t, 22, rows)
}

func TestUnknownKeysAreNamed(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"redis:\n  ulr: x\n":                               "line 2: redis.ulr: no such key",
		"workers: {}\n":                                    "line 1: workers: no such key",
		oneProject + "    limit: {max_reads: 2}\n":         "projects[0].limit: no such key",
		oneProject + "    limits: {calls_per_second: 5}\n": "projects[0].limits.calls_per_second: no such key: use ",
		strings.Replace(oneProject, "credentials: main", "credentials: {kind: token}", 1): "projects[0].credentials: must be the name of one of credentials",
		strings.Replace(oneProject, "credentials: main", "credentials: other", 1):         `"other" is not the name of one of credentials: main`,
		oneProject + "    limits: {brust: 2}\n":                                           "projects[0].limits.brust: no such key",
		oneProject + "---\nlog: {level: debug}\n":                                         "more than one YAML document",
		"redis: [\n":                                "line",
		"worker: {max_attempts: many}\n":            "line 1",
		"log: {level: info}\nlog: {level: debug}\n": "already defined",
	} {
		_, err := Load(write(t, text), env())
		require.ErrorContains(t, err, want, text)
	}
	_, err := Load(filepath.Join(t.TempDir(), "none.yaml"), env())
	require.ErrorContains(t, err, "none.yaml")
}

// Every bad value is named by its key, all of them at once.
func TestBadValuesAreNamed(t *testing.T) {
	t.Parallel()
	text := `
redis: {url: "http://x", prefix: "a b", wait_replicas: -1, wait_at_most: 3s, tls: {cert_file: only}}
retention: 1m
log: {level: loud, format: xml}
access_removed_within: 1ms
codes:
  - {of: all, code: X, class: transient}
  - {of: call, code: X, class: held}
  - {of: desktop, code: X, class: poison}
  - {of: call, class: transient}
  - {of: call, code: "*", class: transient}
  - {of: call, status: 99, code: X, class: transient}
  - {of: call, status: 418, class: transient}
  - {of: desktop, code: "X.*", class: permanent, why: fine}
worker: {id: "a/b", max_attempts: 0, retry_base: 10s, retry_max: 1s, bulk_poll_interval: 0s, urgent_poll_interval: 2m, first_look: 1ms, shutdown_timeout: 10s}
credentials:
  - {name: "a b", kind: none}
  - {name: keys, kind: aksk, calls_per_minute: -1, reads_per_minute: -1, burst: 3}
  - {name: keys, kind: password}
  - {name: token, kind: token}
  - {name: p1, kind: password, user: u, domain: d, password: {env: P}}
  - {name: p2, kind: password, user: u, domain: d, password: {env: P}}
projects:
  - {alias: HQ, project_id: 12, limits: {max_in_flight: 0, max_reads: 0, call_timeout: 10ms}, unknown_users: forget}
  - {alias: a, project_id: 00000000000000000000000000000001, region: "no region", credentials: keys}
  - {alias: a, project_id: 00000000000000000000000000000001, region: r-1, credentials: nowhere}
`
	_, err := Load(write(t, text), env())
	require.Error(t, err)
	for _, key := range []string{
		"redis.url", "redis.prefix", "redis.tls", "redis.wait_replicas", "redis.wait_at_most", "retention", "log.level", "log.format", "worker.id", "worker.max_attempts",
		"worker.retry_max", "worker.bulk_poll_interval", "worker.urgent_poll_interval", "worker.first_look",
		"access_removed_within", "codes[0].of", "codes[1].class", "codes[2].class", "codes[3].code", "codes[4].code", "codes[5].status",
		"projects[0].limits.max_reads", "projects[0].alias", "projects[0].project_id", "projects[0].region", "projects[0].credentials",
		"projects[0].limits.max_in_flight", "projects[0].limits.call_timeout", "projects[0].unknown_users",
		"projects[1].region", "projects[1].limits.call_timeout", "projects[2].alias", "projects[2].project_id", "projects[2].credentials",
		"credentials[0].name", "credentials[0].kind", "credentials[1].access_key", "credentials[1].secret_key",
		"credentials[1].calls_per_minute", "credentials[1].reads_per_minute", "credentials[1].burst",
		"credentials[2].name", "credentials[2].user", "credentials[2].domain", "credentials[2].password", "credentials[3].token", "credentials[5].user",
	} {
		require.ErrorContains(t, err, key+":")
	}
	require.NotContains(t, err.Error(), "codes[6]")
	require.NotContains(t, err.Error(), "codes[7]")
}

func TestTheTimeForAProofIsLongerThanUntilTheFirstLook(t *testing.T) {
	t.Parallel()
	cfg := Defaults()
	cfg.Worker.ConfirmWithin = cfg.Worker.FirstLook
	require.ErrorContains(t, cfg.Validate(), "worker.confirm_within: is 3s: it must be above")
}

// Faults in the form do not hide those in the values, and what cannot be read
// brings no other complaint about the same key.
func TestAllFaultsAreNamedAtOnceWithTheirPlace(t *testing.T) {
	t.Parallel()
	path := write(t, `ulr: 1
retention: 5
worker: {max_attempts: many,
  retry_base: soon}
log: {level: "77"}
projects:
  -
  - hunter2
  - alias: a
    alias: b
    project_id: 00000000000000000000000000000001
    endpoint: http://u:hunter2@example.com
    credentials: main
    limits: {max_reads: .nan, call_timeout: 44s}
credentials:
  - {name: main, kind: token, token: {env: "hunter2!"}, user: u}
`)
	_, err := Load(path, env("DETACHD_REDIS_URL", "http://x", "DETACHD_LOG_FORMAT", "xml"))
	require.Error(t, err)
	var got []string
	for line := range strings.SplitSeq(strings.TrimPrefix(err.Error(), path+": "), "\n") {
		source, rest, _ := strings.Cut(line, ": ")
		key, _, _ := strings.Cut(rest, ": ")
		got = append(got, source+" "+key)
	}
	require.ElementsMatch(t, []string{
		"line 1 ulr", "line 2 retention", "line 3 worker.max_attempts", "line 4 worker.retry_base", "line 5 log.level",
		"line 7 projects[0]", "line 8 projects[1]", "line 9 projects[2].alias", "line 12 projects[2].endpoint",
		"line 14 projects[2].limits.max_reads", "line 14 projects[2].limits.call_timeout",
		"line 16 credentials[0].token.env", "line 16 credentials[0].user",
		"DETACHD_REDIS_URL redis.url", "DETACHD_LOG_FORMAT log.format",
	}, got, err.Error())
	require.NotContains(t, err.Error(), "hunter2")
}

func TestAnEmptyItemOfAListIsNamed(t *testing.T) {
	t.Parallel()
	_, err := Load(write(t, oneProject+"protected:\n  - name: board\n    users: [ann, ~]\n    tags: [\"\"]\n"), env())
	require.ErrorContains(t, err, "line 11: protected[0].users[1]: is empty\nline 12: protected[0].tags[0]: is empty")
}

func TestAFileWithoutKeysIsNamed(t *testing.T) {
	t.Parallel()
	_, err := Load(write(t, "- redis"), env())
	require.ErrorContains(t, err, "config.yaml: the file: must be a mapping with keys")
}

// Credentials do not travel unencrypted unless the project says so.
func TestPlainHTTPHasToBeAllowed(t *testing.T) {
	t.Parallel()
	for _, key := range []string{"endpoint", "iam_endpoint"} {
		text := `{credentials: [{name: main, kind: token, token: {env: T}}], projects: [{alias: a, credentials: main, region: cn-north-4,
			project_id: 00000000000000000000000000000001, ` + key + `: "http://10.1.2.3"`
		_, err := Load(write(t, text+"}]}"), env())
		require.ErrorContains(t, err, "line 2: projects[0]."+key+": is http and not on this machine")
		require.NotContains(t, err.Error(), "10.1.2.3")
		cfg, err := Load(write(t, text+", allow_http: true}]}"), env())
		require.NoError(t, err)
		require.True(t, cfg.Projects[0].AllowHTTP)
	}
	const sdk = "HUAWEICLOUD_SDK_"
	_, err := Load("", env(sdk+"AK", "a", sdk+"SK", "s", sdk+"PROJECT_ID", "00000000000000000000000000000001", sdk+"REGION", "cn-north-4",
		sdk+"REGION_WORKSPACE_CN_NORTH_4", "http://workspace.example.com"))
	require.ErrorContains(t, err, "projects[0].endpoint: is http")
}

func TestTLSThatIsNotUsedIsAnError(t *testing.T) {
	t.Parallel()
	cfg := Defaults()
	cfg.Redis.TLS.CAFile = "ca.pem"
	require.ErrorContains(t, cfg.Validate(), "redis.tls: is set, but")
	cfg.Redis.URL = "redis+cluster://h?tls=true"
	require.NoError(t, cfg.Validate())
}

func TestShutdownMustBeBounded(t *testing.T) {
	t.Parallel()
	cfg := Defaults()
	cfg.Worker.ShutdownTimeout = 0
	require.ErrorContains(t, cfg.Validate(), "worker.shutdown_timeout:")
}

// A URL from the environment is another server: what it says about whom to be
// goes before the file; where it says nothing, the file's still holds.
func TestRedisURLOfTheEnvironmentBringsItsOwnUser(t *testing.T) {
	t.Parallel()
	path := write(t, "redis: {url: 'redis://file', username: of-file, password: {env: OF_FILE}}\n")
	got, err := Load(path, env("DETACHD_REDIS_URL", "redis://u:p@elsewhere", "OF_FILE", "x"))
	require.NoError(t, err)
	require.Equal(t, Redis{URL: "redis://u:p@elsewhere", Prefix: "detachd", WaitReplicas: 1, WaitAtMost: time.Second, ReplicaReturns: time.Minute}, got.Redis)
	got, err = Load(path, env("DETACHD_REDIS_URL", "redis://elsewhere"))
	require.NoError(t, err)
	require.Equal(t, "of-file", got.Redis.Username)
	require.Equal(t, SecretRef{Env: "OF_FILE"}, got.Redis.Password)
}

func TestEnvironmentGoesBeforeTheFile(t *testing.T) {
	t.Parallel()
	path := write(t, oneProject+"log: {level: warn}\nretention: 48h\nworker: {id: from-file}\n")
	got, err := Load(path, env("DETACHD_LOG_LEVEL", "debug", "DETACHD_LOG_FORMAT", "json", "DETACHD_RETENTION", "72h",
		"DETACHD_REDIS_URL", "redis://elsewhere:1/2", "DETACHD_WORKER_ID", "w", "DETACHD_REDIS_PASSWORD", "pw"))
	require.NoError(t, err)
	require.Equal(t, Log{"debug", "json"}, got.Log)
	require.Equal(t, 72*time.Hour, got.Retention)
	require.Equal(t, "redis://elsewhere:1/2", got.Redis.URL.Reveal())
	require.Equal(t, "w", got.Worker.ID)
	require.Equal(t, "pw", got.Redis.Password.Value.Reveal())
	_, err = Load(path, env("DETACHD_RETENTION", "soon"))
	require.ErrorContains(t, err, "DETACHD_RETENTION")
}

func TestProjectFromTheConventionalEnvironment(t *testing.T) {
	t.Parallel()
	id := "00000000000000000000000000000001"
	for kind, vars := range map[string][]string{
		"aksk":     {"HUAWEICLOUD_SDK_AK", "a", "HUAWEICLOUD_SDK_SK", "s", "HUAWEICLOUD_SDK_PROJECT_ID", id, "HW_REGION_NAME", "ap-southeast-3"},
		"token":    {"HW_AUTH_TOKEN", "t", "HW_PROJECT_ID", id, "HW_REGION_NAME", "ap-southeast-3"},
		"password": {"HW_USER_NAME", "u", "HW_USER_PASSWORD", "p", "HW_DOMAIN_NAME", "d", "HW_PROJECT_ID", id, "HW_REGION_NAME", "ap-southeast-3"},
	} {
		got, err := Load("", env(vars...))
		require.NoError(t, err, kind)
		require.Len(t, got.Projects, 1)
		require.Equal(t, "default", got.Projects[0].Alias)
		require.Equal(t, kind, got.Credentials[0].Kind)
		c, known := got.CredentialOf(got.Projects[0])
		require.True(t, known)
		_, err = got.Projects[0].Authenticator(c, env(), "detachd/test", nil)
		require.NoError(t, err)
	}
	none, err := Load("", env())
	require.NoError(t, err)
	require.Empty(t, none.Projects)
	_, err = Load("", env("HUAWEICLOUD_SDK_AK", "a"))
	require.ErrorContains(t, err, "HUAWEICLOUD_SDK_SK")
}

func TestRedisURLs(t *testing.T) {
	t.Parallel()
	for raw, want := range map[string]struct {
		addrs          []string
		user, password string
		master         string
		db             int
		tls, cluster   bool
	}{
		"redis://h:1/2":                      {addrs: []string{"h:1"}, db: 2},
		"redis://u:p%40@h":                   {addrs: []string{"h:6379"}, user: "u", password: "p@"},
		"rediss://h:1":                       {addrs: []string{"h:1"}, tls: true},
		"unix:///run/redis.sock":             {addrs: []string{"/run/redis.sock"}},
		"redis+sentinel://a,b:2/mymaster/3":  {addrs: []string{"a:26379", "b:2"}, master: "mymaster", db: 3},
		"redis+sentinel://u:p@a/m?tls=true":  {addrs: []string{"a:26379"}, master: "m", user: "u", password: "p", tls: true},
		"redis+cluster://a:1,b:2,c":          {addrs: []string{"a:1", "b:2", "c:6379"}, cluster: true},
		"redis+cluster://:p@a:1,b?tls=true":  {addrs: []string{"a:1", "b:6379"}, password: "p", cluster: true, tls: true},
		"redis+cluster://[::1],[::2]:7":      {addrs: []string{"[::1]:6379", "[::2]:7"}, cluster: true},
		"redis+cluster://:p@a:1,b/?tls=true": {addrs: []string{"a:1", "b:6379"}, password: "p", cluster: true, tls: true},
	} {
		o, err := ParseRedisURL(apiclient.Secret(raw))
		require.NoError(t, err, raw)
		require.Equal(t, want.addrs, o.Addrs, raw)
		require.Equal(t, want.user, o.Username, raw)
		require.Equal(t, want.password, o.Password, raw)
		require.Equal(t, want.master, o.MasterName, raw)
		require.Equal(t, want.db, o.DB, raw)
		require.Equal(t, want.tls, o.TLSConfig != nil, raw)
		require.Equal(t, want.cluster, o.IsClusterMode, raw)
		if o.TLSConfig != nil {
			require.False(t, o.TLSConfig.InsecureSkipVerify)
			require.GreaterOrEqual(t, o.TLSConfig.MinVersion, uint16(tls.VersionTLS12))
		}
	}
	for _, raw := range []string{
		"", "localhost:6379", "http://h", "redis://:hunter2@h:port/0", "redis+sentinel://a", "redis+sentinel://a/m/x", "redis+cluster://a/0",
		"redis+cluster://a,,b", "redis+sentinel://u:hunter2%zz@a/m", "redis://h/nodb",
		"redis+sentinel://a/m?tls=1", "redis+sentinel://a/m?tsl=true", "redis+sentinel://a/m/-1", "redis+cluster://::1", "redis+cluster://a:0",
		"rediss://h?skip_verify=true", "redis://h?read_timeout=1s", "redis+sentinel://u:hunter2/x@a/0",
	} {
		_, err := ParseRedisURL(apiclient.Secret(raw))
		require.Error(t, err, raw)
		require.NotContains(t, err.Error(), "hunter2")
	}
}

func TestSecretsAreReferencedAndNeverPrinted(t *testing.T) {
	t.Parallel()
	const secret = "hunter2-hunter2"
	file := filepath.Join(t.TempDir(), "secret")
	require.NoError(t, os.WriteFile(file, []byte(secret+"\n"), 0o600))
	empty := filepath.Join(t.TempDir(), "empty")
	require.NoError(t, os.WriteFile(empty, nil, 0o600))

	got, err := SecretRef{File: file}.Resolve(env())
	require.NoError(t, err)
	require.Equal(t, secret, got.Reveal(), "one newline at the end is not part of it")
	got, err = SecretRef{Env: "S"}.Resolve(env("S", secret))
	require.NoError(t, err)
	require.Equal(t, secret, got.Reveal())
	for ref, want := range map[SecretRef]string{{Env: "NONE"}: "NONE", {File: empty}: empty, {File: "/no/such"}: "/no/such"} {
		_, err := ref.Resolve(env())
		require.ErrorContains(t, err, want)
	}

	for _, literal := range []string{
		strings.Replace(oneProject, "{env: T}", secret, 1),
		strings.Replace(oneProject, "{env: T}", "{env: T, file: x}", 1),
		strings.Replace(oneProject, "{env: T}", "{value: "+secret+"}", 1),
		"redis: {password: " + secret + "}\n",
		"redis: {url: 'redis://:" + secret + "@h:bad'}\n",
	} {
		_, err := Load(write(t, literal), env())
		require.Error(t, err, literal)
		require.NotContains(t, err.Error(), secret)
	}

	cfg, err := Load(write(t, oneProject+"redis: {url: 'redis://:"+secret+"@h:1/0'}\n"), env("T", secret, "DETACHD_REDIS_PASSWORD", secret))
	require.NoError(t, err)
	text, err := json.Marshal(cfg)
	require.NoError(t, err)
	require.NotContains(t, fmt.Sprintf("%v %+v %#v %s", cfg, cfg, cfg, text), secret)
}

func TestAuthenticatorNamesTheMissingSecret(t *testing.T) {
	t.Parallel()
	p := Project{Alias: "hq", Credential: "main"}
	auth, err := p.Authenticator(Credential{Name: "main", Kind: "token", Token: SecretRef{Env: "T"}}, env(), "", nil)
	require.ErrorContains(t, err, "project hq: credentials main: token")
	require.Nil(t, auth)
	_, err = p.Authenticator(Credential{Name: "main", Kind: "aksk", AccessKey: SecretRef{Env: "AK"}, SecretKey: SecretRef{Env: "SK"}}, env("AK", "x"), "", nil)
	require.ErrorContains(t, err, "project hq: credentials main: secret_key")
	require.ErrorContains(t, err, "SK")
}

// What is one identity to the cloud has one budget; the secret itself is not shown.
func TestOneIdentityIsOneCredential(t *testing.T) {
	t.Parallel()
	keys := func(name, variable string) Credential {
		return Credential{Name: name, Kind: "aksk", AccessKey: SecretRef{Env: variable}, SecretKey: SecretRef{Env: "SK"}}
	}
	cfg := Config{Credentials: []Credential{keys("a", "A"), keys("b", "B")}}
	require.NoError(t, cfg.CheckIdentities(env("A", "hunter2", "B", "other")))
	require.NoError(t, cfg.CheckIdentities(env()), "what cannot be read is told by who needs it")
	err := cfg.CheckIdentities(env("A", "hunter2", "B", "hunter2"))
	require.ErrorContains(t, err, "credentials a and b are the same identity")
	require.NotContains(t, err.Error(), "hunter2")
}

// Readings before calls go first: with too few of them nothing would ever be proven.
func TestReadingsSufficeForTheCalls(t *testing.T) {
	t.Parallel()
	for limits, want := range map[string]string{
		"calls_per_minute: 0, reads_per_minute: 0":     "",
		"calls_per_minute: 100, reads_per_minute: 0":   "",
		"calls_per_minute: 150, reads_per_minute: 300": "",
		"calls_per_minute: 101":                        "is 200: 0 or at least 202",
		"calls_per_minute: 0":                          "limit both or neither",
	} {
		_, err := Load(write(t, strings.Replace(oneProject, "kind: token", "kind: token, "+limits, 1)), env())
		if want == "" {
			require.NoError(t, err, limits)
		} else {
			require.ErrorContains(t, err, "credentials[0].reads_per_minute: ", limits)
			require.ErrorContains(t, err, want, limits)
		}
	}
}

func TestRedisOpenReadsItsFiles(t *testing.T) {
	t.Parallel()
	r := Defaults().Redis
	r.URL, r.TLS.CAFile = "rediss://h:1", "/no/such/ca.pem"
	_, err := r.Open(env())
	require.ErrorContains(t, err, "/no/such/ca.pem")
	r = Defaults().Redis
	r.Password = SecretRef{Env: "PW"}
	_, err = r.Open(env())
	require.ErrorContains(t, err, "redis.password")
	c, err := r.Open(env("PW", "x"))
	require.NoError(t, err)
	require.NoError(t, c.Close())
}

// A primary that is dead does not say where the other is, so the client has to ask.
func TestAClusterIsAskedForItsSlotsEverySecond(t *testing.T) {
	c, err := Redis{URL: "redis+cluster://127.0.0.1:1,127.0.0.1:2"}.Open(env())
	require.NoError(t, err)
	defer c.Close()
	require.Equal(t, time.Second, c.(*redis.ClusterClient).Options().ClusterStateReloadInterval)
	c, err = Redis{URL: "redis+sentinel://127.0.0.1:1/record"}.Open(env())
	require.NoError(t, err)
	defer c.Close()
	require.IsType(t, &redis.Client{}, c)
}
