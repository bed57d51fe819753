package main

import (
	"encoding/json"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"github.com/detachd/detachd/apiclient/fakecloud"
	"github.com/detachd/detachd/tasks/redistest"
)

type probe struct {
	HTTPGet struct{ Path string } `yaml:"httpGet"`
}

// container is that of a Deployment of the base of Kustomize; that of the chart is the same, by a
// test of deploy.
type container struct {
	Args           []string
	Env            []struct{ Name, Value string }
	StartupProbe   probe `yaml:"startupProbe"`
	LivenessProbe  probe `yaml:"livenessProbe"`
	ReadinessProbe probe `yaml:"readinessProbe"`
}

func containerOf(t *testing.T, component string) container {
	t.Helper()
	text, err := os.ReadFile("../../deploy/kustomize/base/" + component + ".yaml")
	require.NoError(t, err)
	var deployment struct {
		Spec struct {
			Template struct {
				Spec struct{ Containers []container }
			}
		}
	}
	require.NoError(t, yaml.Unmarshal(text, &deployment)) // the first manifest of the file
	return deployment.Spec.Template.Spec.Containers[0]
}

// The worker and the server of the manifests run as they are there: the arguments, nothing else in the
// environment, the example's configuration, secrets in files, and no file of their own. The paths of
// the probes answer, without the cloud too; that of readiness only while Redis is there.
func TestManifestsRun(t *testing.T) {
	redis := redistest.Start(t)
	const project, access, secret = "00000000000000000000000000000001", "AKAKAKAK", "a-secret-key"
	cloud, err := fakecloud.Serve(fakecloud.Config{AccessKeys: map[string]string{access: secret}}, "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(cloud.Close)
	cloud.Add(project, fakecloud.Desktop{ID: "d1", Users: []fakecloud.User{{Name: "ann"}}})

	etc, secrets, work := t.TempDir(), t.TempDir(), t.TempDir()
	text, err := os.ReadFile("../../deploy/kustomize/example/config.yaml")
	require.NoError(t, err)
	config := strings.NewReplacer(
		"redis://redis.data.svc:6379/0", redis.URL(), "/run/secrets/detachd", secrets, "region: ap-southeast-3", "endpoint: "+cloud.URL,
	).Replace(string(text))
	for path, content := range map[string]string{
		filepath.Join(etc, "config.yaml"): config, filepath.Join(secrets, "access_key"): access + "\n", filepath.Join(secrets, "secret_key"): secret,
	} {
		require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
	}
	env := func(c container) []string {
		out := []string{beProgram + "=1", "TMPDIR=/nonexistent", "HOME=" + work, "GORACE=" + os.Getenv("GORACE")}
		for _, v := range c.Env {
			out = append(out, v.Name+"="+strings.Replace(v.Value, "/etc/detachd", etc, 1))
		}
		return out
	}
	worker, server := containerOf(t, "worker"), containerOf(t, "server")
	command := func(args ...string) string { // by kubectl exec in a worker
		cmd := exec.Command(os.Args[0], args...)
		cmd.Env, cmd.Dir, cmd.Stderr = env(worker), work, os.Stderr
		out, err := cmd.Output()
		require.NoError(t, err, "%v: %s", args, out)
		return strings.TrimSpace(string(out))
	}
	key := command("keys", "create", "--name", "you", "--role", "admin")
	get := func(url, key string) int {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
		require.NoError(t, err)
		if key != "" {
			req.Header.Set("Authorization", "Bearer "+key)
		}
		resp, err := http.DefaultClient.Do(req)
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		return resp.StatusCode
	}
	type running struct {
		*process
		container
		url string
	}
	var all []running
	for _, c := range []container{worker, server} {
		last := len(c.Args) - 1
		require.Regexp(t, `^:\d+$`, c.Args[last])
		p := start(t, env(c), append(c.Args[:last:last], "127.0.0.1:0")...)
		var serving struct{ Address string }
		require.NoError(t, json.Unmarshal([]byte(p.until(t, `"serving"`)), &serving))
		all = append(all, running{p, c, "http://" + serving.Address})
	}
	cloud.Stop()
	for _, p := range all {
		for _, of := range []probe{p.StartupProbe, p.LivenessProbe, p.ReadinessProbe} {
			require.Equal(t, http.StatusOK, get(p.url+of.HTTPGet.Path, ""), of.HTTPGet.Path)
		}
	}
	require.NoError(t, cloud.Restart())
	require.Equal(t, http.StatusOK, get(all[0].url+"/metrics", ""))
	require.Equal(t, http.StatusOK, get(all[1].url+"/metrics", key))
	require.Contains(t, command("doctor"), "1 running")

	redis.Kill()
	for _, p := range all {
		for _, of := range []probe{p.StartupProbe, p.LivenessProbe} {
			require.Equal(t, http.StatusOK, get(p.url+of.HTTPGet.Path, ""), of.HTTPGet.Path)
		}
		require.Eventually(t, func() bool { return get(p.url+p.ReadinessProbe.HTTPGet.Path, "") == http.StatusServiceUnavailable },
			time.Minute, 10*time.Millisecond)
	}
	require.NoError(t, redis.Restart())
	for _, p := range all {
		p.terminate(t)
	}
	for _, dir := range []string{work, etc, secrets} {
		entries, err := os.ReadDir(dir)
		require.NoError(t, err)
		require.Len(t, entries, map[string]int{etc: 1, secrets: 2}[dir], "nothing is written")
	}
}
