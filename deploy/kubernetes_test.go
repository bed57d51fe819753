package deploy_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"github.com/detachd/detachd/tasks/redistest"
)

const chart = "helm/detachd"

// built runs `go ARGS` in a directory, and returns what it prints. Programs are in bin of the root.
func built(dir string, args ...string) (string, error) {
	bin, err := filepath.Abs("../bin")
	if err != nil {
		return "", err
	}
	c := exec.Command("go", args...)
	c.Dir = dir
	c.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=", "GOBIN="+bin)
	out, err := c.CombinedOutput()
	return string(out), err
}

// program installs a program of the Makefile by its version.
func program(variable, name string) func() (string, error) {
	return sync.OnceValues(func() (string, error) {
		makefile, err := os.ReadFile("../Makefile")
		if err != nil {
			return "", err
		}
		version := regexp.MustCompile(`(?m)^` + variable + ` = (\S+)$`).FindStringSubmatch(string(makefile))[1]
		if out, err := built(".", "install", version); err != nil {
			return "", fmt.Errorf("go install %s: %w\n%s", version, err, out)
		}
		return "../bin/" + name, nil
	})
}

var (
	helm      = program("HELM", "helm")
	kustomize = program("KUSTOMIZE", "kustomize")
)

// run runs one of the two. Without it the test is skipped, or fails in CI.
func run(t *testing.T, program func() (string, error), args ...string) (string, error) {
	t.Helper()
	path, err := program()
	if err != nil {
		redistest.Missing(t, err.Error())
	}
	out, err := exec.CommandContext(t.Context(), path, args...).Output()
	if exit, ok := err.(*exec.ExitError); ok { //nolint:errorlint // for its stderr
		return string(exit.Stderr), err
	}
	return string(out), err
}

// object is a manifest.
type object struct {
	Kind     string
	Metadata struct {
		Name                string
		Labels, Annotations map[string]string
	}
	Spec yaml.Node
	Data map[string]string
}

// rendered are the manifests of a text, by kind and name.
type rendered map[string]object

func read(t *testing.T, text string) rendered {
	t.Helper()
	out := rendered{}
	for dec := yaml.NewDecoder(strings.NewReader(text)); ; {
		var o object
		if err := dec.Decode(&o); err != nil {
			require.Equal(t, "EOF", err.Error())
			return out
		}
		if o.Kind != "" { // else comments only
			name := o.Kind + " " + o.Metadata.Name
			require.NotContains(t, out, name)
			out[name] = o
		}
	}
}

// templated renders the chart with values of ci/ and further flags.
func templated(t *testing.T, values string, flags ...string) string {
	t.Helper()
	args := append([]string{"template", "x", chart, "--namespace", "tools", "--kube-version", "1.30.0", "-f", chart + "/ci/" + values}, flags...)
	out, err := run(t, helm, args...)
	require.NoError(t, err, out)
	return out
}

func overlay(t *testing.T) string {
	t.Helper()
	out, err := run(t, kustomize, "build", "kustomize/example")
	require.NoError(t, err, out)
	return out
}

// renders are all that is looked at, by name.
func renders(t *testing.T) map[string]string {
	return map[string]string{
		"required": templated(t, "required-values.yaml"), "everything": templated(t, "everything-values.yaml"), "kustomize": overlay(t),
	}
}

func (r rendered) spec(t *testing.T, name string) (out map[string]any) {
	t.Helper()
	o, ok := r[name]
	require.True(t, ok, "there is no %s", name)
	require.NoError(t, o.Spec.Decode(&out))
	return out
}

// at follows a path of keys and indices.
func at(t *testing.T, v any, path ...any) any {
	t.Helper()
	for _, p := range path {
		switch p := p.(type) {
		case string:
			m, ok := v.(map[string]any)
			require.True(t, ok, "%v: not a mapping", path)
			v = m[p]
		case int:
			list, ok := v.([]any)
			require.True(t, ok && p < len(list), "%v: not a list of so many", path)
			v = list[p]
		}
	}
	return v
}

// pods returns the specs of all pods, by component.
func (r rendered) pods(t *testing.T) map[string]map[string]any {
	t.Helper()
	out := map[string]map[string]any{}
	for name, o := range r {
		switch o.Kind {
		case "Deployment":
			out[o.Metadata.Labels["app.kubernetes.io/component"]] = at(t, r.spec(t, name), "template", "spec").(map[string]any)
		case "Pod":
			out[o.Metadata.Labels["app.kubernetes.io/component"]] = r.spec(t, name)
		}
	}
	return out
}

func parse(t *testing.T, text string) (out map[string]any) {
	t.Helper()
	require.NoError(t, yaml.Unmarshal([]byte(text), &out))
	return out
}

// wanted is the spec of the worker's Deployment with the values that an installation must give.
// NAME is of the release, LABELS are the selector's, CONFIG is the ConfigMap.
const wanted = `
replicas: 2
strategy: {type: RollingUpdate, rollingUpdate: {maxUnavailable: 0, maxSurge: 1}}
selector: {matchLabels: {LABELS, app.kubernetes.io/component: worker}}
template:
  spec:
    automountServiceAccountToken: false
    enableServiceLinks: false
    terminationGracePeriodSeconds: 75
    securityContext:
      {runAsNonRoot: true, runAsUser: 65532, runAsGroup: 65532, fsGroup: 65532, seccompProfile: {type: RuntimeDefault}}
    topologySpreadConstraints:
      - maxSkew: 1
        topologyKey: kubernetes.io/hostname
        whenUnsatisfiable: ScheduleAnyway
        labelSelector: {matchLabels: {LABELS, app.kubernetes.io/component: worker}}
        matchLabelKeys: [pod-template-hash]
      - maxSkew: 1
        topologyKey: topology.kubernetes.io/zone
        whenUnsatisfiable: ScheduleAnyway
        labelSelector: {matchLabels: {LABELS, app.kubernetes.io/component: worker}}
        matchLabelKeys: [pod-template-hash]
    containers:
      - name: worker
        image: registry.example.com/detachd@sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa
        imagePullPolicy: IfNotPresent
        args: [worker, --listen, ":9090"]
        env: [{name: DETACHD_CONFIG, value: /etc/detachd/config.yaml}, {name: GOMEMLIMIT, value: 800MiB}]
        securityContext: {allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: {drop: [ALL]}}
        resources: {requests: {cpu: 100m, memory: 256Mi}, limits: {cpu: "2", memory: 1Gi}}
        ports: [{name: metrics, containerPort: 9090}]
        startupProbe: {httpGet: {path: /healthz, port: metrics, scheme: HTTP}, periodSeconds: 2, timeoutSeconds: 5, failureThreshold: 30}
        livenessProbe: {httpGet: {path: /healthz, port: metrics, scheme: HTTP}, periodSeconds: 10, timeoutSeconds: 5, failureThreshold: 6}
        readinessProbe: {httpGet: {path: /readyz, port: metrics, scheme: HTTP}, periodSeconds: 5, timeoutSeconds: 5, failureThreshold: 2}
        volumeMounts:
          - {name: config, mountPath: /etc/detachd, readOnly: true}
          - {name: secrets, mountPath: /run/secrets/detachd, readOnly: true}
    volumes:
      - {name: config, configMap: {name: (CONFIG)}}
      - {name: secrets, secret: {secretName: detachd, defaultMode: 288}}
`

// The chart and the base of Kustomize run the same two Deployments.
func TestDeploymentsAreThese(t *testing.T) {
	t.Parallel()
	helmed, kustomized := read(t, templated(t, "required-values.yaml")), read(t, overlay(t))
	config := ""
	for _, o := range kustomized {
		if o.Kind == "ConfigMap" {
			config = o.Metadata.Name
		}
	}
	require.Regexp(t, `^detachd-[a-z0-9]{10}$`, config, "the hash of the file restarts the pods")
	for name, x := range map[string]struct {
		objects              rendered
		name, labels, config string
	}{
		"chart":     {helmed, "x-detachd", "app.kubernetes.io/name: detachd, app.kubernetes.io/instance: x", "x-detachd"},
		"kustomize": {kustomized, "detachd", "app.kubernetes.io/name: detachd", config},
	} {
		worker := strings.NewReplacer("LABELS", x.labels, "(CONFIG)", x.config).Replace(wanted)
		server := strings.NewReplacer(
			"terminationGracePeriodSeconds: 75", "terminationGracePeriodSeconds: 30",
			"args: [worker, --listen, \":9090\"]", "args: [serve, --listen, \":8080\"]",
			"        volumeMounts:", "        lifecycle: {preStop: {sleep: {seconds: 5}}}\n        volumeMounts:",
			"worker", "server", "metrics", "api", "9090", "8080",
		).Replace(worker)
		for component, want := range map[string]string{"worker": worker, "server": server} {
			got := x.objects.spec(t, "Deployment "+x.name+"-"+component)
			template := got["template"].(map[string]any)
			var meta struct{ Labels, Annotations map[string]string }
			again, err := yaml.Marshal(template["metadata"])
			require.NoError(t, err)
			require.NoError(t, yaml.Unmarshal(again, &meta))
			delete(template, "metadata")
			require.Equal(t, parse(t, want), got, "%s: %s", name, component)
			for key, value := range parse(t, "{"+x.labels+", app.kubernetes.io/component: "+component+"}") {
				require.Equal(t, value, meta.Labels[key], key)
			}
			require.Equal(t, name == "chart", meta.Annotations["checksum/config"] != "", "the hash of the file restarts the pods")
			require.Equal(t, parse(t, "{maxUnavailable: 1, unhealthyPodEvictionPolicy: AlwaysAllow, selector: {matchLabels: {"+
				x.labels+", app.kubernetes.io/component: "+component+"}}}"), x.objects.spec(t, "PodDisruptionBudget "+x.name+"-"+component))
			require.Equal(t, parse(t, "{"+map[string]string{
				"worker": "clusterIP: None, publishNotReadyAddresses: true, ports: [{name: metrics, port: 9090, targetPort: metrics, appProtocol: http}]",
				"server": "type: ClusterIP, ports: [{name: api, port: 80, targetPort: api, appProtocol: http}]",
			}[component]+", selector: {"+x.labels+", app.kubernetes.io/component: "+component+"}}"), x.objects.spec(t, "Service "+x.name+"-"+component))
		}
	}
}

// podKeys are the keys of pods that do not weaken them.
var podKeys = []string{
	"activeDeadlineSeconds", "affinity", "automountServiceAccountToken", "containers", "enableServiceLinks", "imagePullSecrets",
	"nodeSelector", "priorityClassName", "restartPolicy", "securityContext", "serviceAccountName", "terminationGracePeriodSeconds",
	"tolerations", "topologySpreadConstraints", "volumes",
}

// Every pod that is rendered, that of the test too, is locked in and bounded.
func TestPodsAreHardened(t *testing.T) {
	t.Parallel()
	for name, text := range renders(t) {
		objects := read(t, text)
		pods := objects.pods(t)
		require.Contains(t, pods, "worker", name)
		require.Contains(t, pods, "server", name)
		require.Equal(t, name != "kustomize", pods["doctor"] != nil, name)
		for component, pod := range pods {
			where := name + " " + component
			for key := range pod {
				require.Contains(t, podKeys, key, where)
			}
			require.Equal(t, false, pod["automountServiceAccountToken"], where)
			require.Equal(t, false, pod["enableServiceLinks"], where)
			require.Equal(t, parse(t, `{runAsNonRoot: true, runAsUser: 65532, runAsGroup: 65532, fsGroup: 65532,
				seccompProfile: {type: RuntimeDefault}}`), pod["securityContext"], where)
			require.Len(t, pod["containers"], 1, where)
			require.Equal(t, parse(t, `{allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: {drop: [ALL]}}`),
				at(t, pod, "containers", 0, "securityContext"), where)
			require.Regexp(t, `@sha256:[0-9a-f]{64}$`, at(t, pod, "containers", 0, "image"), where)
			for _, path := range [][]any{{"requests", "cpu"}, {"requests", "memory"}, {"limits", "memory"}} {
				require.NotEmpty(t, at(t, pod, append([]any{"containers", 0, "resources"}, path...)...), where)
			}
			for _, mount := range at(t, pod, "containers", 0, "volumeMounts").([]any) {
				require.Equal(t, true, at(t, mount, "readOnly"), where)
			}
		}
		for name, o := range objects {
			require.NotEqual(t, "Secret", o.Kind, "%s: the deployer's tool makes secrets", name)
		}
	}
}

// The kubelet waits longer than the worker does.
func TestPodsMayEndInPeace(t *testing.T) {
	t.Parallel()
	for name, text := range renders(t) {
		objects := read(t, text)
		var config struct {
			Worker struct {
				ShutdownTimeout time.Duration `yaml:"shutdown_timeout"`
			}
		}
		for _, o := range objects {
			if file, ok := o.Data["config.yaml"]; ok {
				require.NoError(t, yaml.Unmarshal([]byte(file), &config))
			}
		}
		require.NotZero(t, config.Worker.ShutdownTimeout, name)
		grace := time.Duration(at(t, objects.pods(t)["worker"], "terminationGracePeriodSeconds").(int)) * time.Second
		require.GreaterOrEqual(t, grace, config.Worker.ShutdownTimeout+20*time.Second, name)
	}
}

// Each selector means the pods of its component, and each port has the name that is asked for.
func TestSelectorsMeanThePods(t *testing.T) {
	t.Parallel()
	for name, text := range renders(t) {
		objects := read(t, text)
		labels, ports := map[string]map[string]any{}, map[string]string{}
		for key, o := range objects {
			if o.Kind == "Deployment" {
				component := o.Metadata.Labels["app.kubernetes.io/component"]
				labels[component] = at(t, objects.spec(t, key), "template", "metadata", "labels").(map[string]any)
				ports[component] = at(t, objects.spec(t, key), "template", "spec", "containers", 0, "ports", 0, "name").(string)
			}
		}
		n := 0
		for key, o := range objects {
			component, of := o.Metadata.Labels["app.kubernetes.io/component"], []any{"selector", "matchLabels"}
			switch {
			case component == "" || component == "doctor":
				continue
			case o.Kind == "Service":
				of = []any{"selector"}
				require.Equal(t, ports[component], at(t, objects.spec(t, key), "ports", 0, "targetPort"), name+" "+key)
			case o.Kind == "NetworkPolicy":
				of = []any{"podSelector", "matchLabels"}
				require.Equal(t, ports[component], at(t, objects.spec(t, key), "ingress", 0, "ports", 0, "port"), name+" "+key)
			case o.Kind == "ServiceMonitor": // selects Services, which have the same labels
				require.Equal(t, ports[component], at(t, objects.spec(t, key), "endpoints", 0, "port"), name+" "+key)
			}
			selector := at(t, objects.spec(t, key), of...).(map[string]any)
			require.Equal(t, component, selector["app.kubernetes.io/component"], name+" "+key)
			for label, value := range selector {
				require.Equal(t, value, labels[component][label], name+" "+key)
			}
			n++
		}
		require.GreaterOrEqual(t, n, 7, name)
	}
}

// Every pod may speak to names, Redis and the cloud only, and nobody reaches a worker who is not named.
func TestNetworkPolicies(t *testing.T) {
	t.Parallel()
	const egress = `
  - to: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: kube-system}}}]
    ports: [{protocol: UDP, port: 53}, {protocol: TCP, port: 53}]
  - to: [{namespaceSelector: {}}, {ipBlock: {cidr: 0.0.0.0/0}}]
    ports: [{protocol: TCP, port: 6379}]
  - to: [{ipBlock: {cidr: 0.0.0.0/0, except: [169.254.0.0/16]}}]
    ports: [{protocol: TCP, port: 443}]`
	const all = "{podSelector: {matchLabels: {LABELS}}, policyTypes: [Ingress, Egress], egress: EGRESS}"
	const one = `{podSelector: {matchLabels: {LABELS, app.kubernetes.io/component: COMPONENT}}, policyTypes: [Ingress],
		ingress: [{from: [{namespaceSelector: PEERS}], ports: [{protocol: TCP, port: PORT}]}]}`
	labels := "app.kubernetes.io/name: detachd, app.kubernetes.io/instance: x"
	policies := func(objects rendered) (out []string) {
		for name, o := range objects {
			if o.Kind == "NetworkPolicy" {
				out = append(out, name)
			}
		}
		slices.Sort(out)
		return out
	}
	check := func(objects rendered, name, want string, values ...string) {
		t.Helper()
		want = strings.NewReplacer(append([]string{"LABELS", labels}, values...)...).Replace(want)
		got := objects.spec(t, "NetworkPolicy "+name)
		require.Equal(t, parse(t, want), got, name)
	}
	spec := func(text string) string {
		flow, err := json.Marshal(parse(t, "egress:"+text)["egress"])
		require.NoError(t, err)
		return string(flow)
	}

	objects := read(t, templated(t, "required-values.yaml"))
	require.Equal(t, []string{"NetworkPolicy x-detachd", "NetworkPolicy x-detachd-server"}, policies(objects))
	check(objects, "x-detachd", all, "EGRESS", spec(egress))
	check(objects, "x-detachd-server", one, "COMPONENT", "server", "PEERS", "{}", "PORT", "api")

	objects = read(t, templated(t, "everything-values.yaml"))
	require.Equal(t, []string{"NetworkPolicy leavers", "NetworkPolicy leavers-server", "NetworkPolicy leavers-worker"}, policies(objects))
	check(objects, "leavers", all, "EGRESS", spec(`
  - to: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: kube-system}}}]
    ports: [{protocol: UDP, port: 53}, {protocol: TCP, port: 53}]
  - to: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: data}}}]
    ports: [{protocol: TCP, port: 6379}, {protocol: TCP, port: 26379}]
  - to: [{ipBlock: {cidr: 192.0.2.0/24}}]
    ports: [{protocol: TCP, port: 443}]
  - to: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: monitoring}}}]
    ports: [{protocol: TCP, port: 4318}]`))
	check(objects, "leavers-server", one, "COMPONENT", "server", "PEERS", "{matchLabels: {kubernetes.io/metadata.name: ingress}}", "PORT", "api")
	check(objects, "leavers-worker", one, "COMPONENT", "worker", "PEERS", "{matchLabels: {kubernetes.io/metadata.name: monitoring}}",
		"PORT", "metrics")
	require.Empty(t, policies(read(t, templated(t, "required-values.yaml", "--set", "networkPolicy.enabled=false"))))

	objects, labels = read(t, overlay(t)), "app.kubernetes.io/name: detachd"
	require.Equal(t, []string{"NetworkPolicy detachd", "NetworkPolicy detachd-server"}, policies(objects))
	scraped := `{podSelector: {matchLabels: {LABELS}}, policyTypes: [Ingress, Egress], egress: EGRESS, ingress: [{
		from: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: monitoring}}}], ports: [{protocol: TCP, port: metrics}]}]}`
	check(objects, "detachd", scraped, "EGRESS", spec(egress))
	check(objects, "detachd-server", one, "COMPONENT", "server", "PEERS", "{}", "PORT", "api")
}

// Every switch of the chart does what it says.
func TestSwitchesOfTheChart(t *testing.T) {
	t.Parallel()
	objects := read(t, templated(t, "everything-values.yaml"))
	worker, server := objects.spec(t, "Deployment leavers-worker"), objects.spec(t, "Deployment leavers-server")
	container := func(spec map[string]any) map[string]any {
		return at(t, spec, "template", "spec", "containers", 0).(map[string]any)
	}
	require.Equal(t, 3, worker["replicas"])
	require.Equal(t, 120, at(t, worker, "template", "spec", "terminationGracePeriodSeconds"))
	require.Equal(t, []any{
		"serve", "--listen", ":8080", "--tls-cert", "/run/secrets/tls/tls.crt", "--tls-key", "/run/secrets/tls/tls.key",
		"--trusted-proxy", "10.0.0.0/8", "--trusted-proxy", "192.0.2.1",
	}, container(server)["args"])
	for _, probe := range []string{"startupProbe", "livenessProbe", "readinessProbe"} {
		require.Equal(t, "HTTPS", at(t, container(server), probe, "httpGet", "scheme"))
		require.Equal(t, "HTTP", at(t, container(worker), probe, "httpGet", "scheme"))
	}
	tls := []any{parse(t, "{name: tls, secret: {secretName: detachd-tls, defaultMode: 288}}")}
	require.Subset(t, at(t, server, "template", "spec", "volumes"), tls)
	require.NotSubset(t, at(t, worker, "template", "spec", "volumes"), tls)
	require.Subset(t, container(server)["volumeMounts"], []any{parse(t, "{name: tls, mountPath: /run/secrets/tls, readOnly: true}")})

	for component, pod := range objects.pods(t) {
		require.Equal(t, "registry.example.com:5000/tools/detachd@sha256:"+strings.Repeat("b", 64), at(t, pod, "containers", 0, "image"))
		require.Equal(t, "Always", at(t, pod, "containers", 0, "imagePullPolicy"))
		require.Equal(t, []any{parse(t, "{name: registry}")}, pod["imagePullSecrets"])
		require.Equal(t, parse(t, "{kubernetes.io/arch: amd64}"), pod["nodeSelector"])
		require.Equal(t, []any{parse(t, "{key: tools, operator: Exists}")}, pod["tolerations"])
		require.Equal(t, "tools", at(t, pod, "affinity", "nodeAffinity", "requiredDuringSchedulingIgnoredDuringExecution",
			"nodeSelectorTerms", 0, "matchExpressions", 0, "key"))
		require.Equal(t, []any{"office", "leavers"}, []any{pod["priorityClassName"], pod["serviceAccountName"]})
		require.Subset(t, at(t, pod, "containers", 0, "env"), []any{
			parse(t, "{name: SENTINEL_PASSWORD, valueFrom: {secretKeyRef: {name: redis, key: sentinel}}}")}, component)
		require.Subset(t, pod["volumes"], []any{
			parse(t, "{name: lists, persistentVolumeClaim: {claimName: lists, readOnly: true}}"),
			parse(t, "{name: redis-ca, configMap: {name: redis-ca}}"), parse(t, "{name: secrets, secret: {secretName: cloud, defaultMode: 288}}"),
		}, component)
		require.Subset(t, at(t, pod, "containers", 0, "volumeMounts"), []any{
			parse(t, "{name: lists, mountPath: /srv/lists, readOnly: true}"),
			parse(t, "{name: secrets, mountPath: /run/secrets/detachd, readOnly: true}"),
		}, component)
	}
	require.Equal(t, "workplace", at(t, worker, "template", "metadata", "annotations", "team"))
	service := objects.spec(t, "Service leavers-server")
	require.Equal(t, "LoadBalancer", service["type"])
	require.Equal(t, []any{parse(t, "{name: api, port: 443, targetPort: api, appProtocol: https}")}, service["ports"])
	require.Equal(t, "true", objects["Service leavers-server"].Metadata.Annotations["example.com/internal"])
	require.Equal(t, parse(t, `{clusterIP: None, publishNotReadyAddresses: true, ports: [{name: metrics, port: 9090, targetPort: metrics,
		appProtocol: http}], selector: {app.kubernetes.io/name: detachd, app.kubernetes.io/instance: x, app.kubernetes.io/component: worker}}`),
		objects.spec(t, "Service leavers-worker"))

	doctor := objects["Pod leavers-doctor"]
	require.Equal(t, "test", doctor.Metadata.Annotations["helm.sh/hook"])
	require.Equal(t, "before-hook-creation,hook-succeeded", doctor.Metadata.Annotations["helm.sh/hook-delete-policy"])
	require.Equal(t, []any{"doctor"}, at(t, objects.spec(t, "Pod leavers-doctor"), "containers", 0, "args"))
	require.Equal(t, "Never", at(t, objects.spec(t, "Pod leavers-doctor"), "restartPolicy"))
	require.Equal(t, 300, at(t, objects.spec(t, "Pod leavers-doctor"), "activeDeadlineSeconds"))

	require.Equal(t, []any{parse(t, "{port: metrics, path: /metrics, interval: 30s}")}, objects.spec(t, "ServiceMonitor leavers-worker")["endpoints"])
	require.Equal(t, []any{parse(t, `{port: api, path: /metrics, interval: 30s, scheme: https, tlsConfig: {serverName: detachd.example.com},
		authorization: {credentials: {name: detachd-metrics, key: api_key}}}`)}, objects.spec(t, "ServiceMonitor leavers-server")["endpoints"])
	for _, name := range []string{"ServiceMonitor leavers-worker", "ServiceMonitor leavers-server", "PrometheusRule leavers"} {
		require.Equal(t, "prometheus", objects[name].Metadata.Labels["release"], name)
	}
	require.Equal(t, objects["ConfigMap leavers"].Data, map[string]string{"config.yaml": objects["ConfigMap leavers"].Data["config.yaml"]})

	out, err := run(t, helm, "template", "detachd-asia", chart, "--kube-version", "1.30.0", "-f", chart+"/ci/required-values.yaml")
	require.NoError(t, err, out)
	require.Contains(t, read(t, out), "Deployment detachd-asia-worker", "the name of the release, if it says enough")

	out, err = run(t, helm, "template", strings.Repeat("r", 53), chart, "--kube-version", "1.30.0", "-f", chart+"/ci/required-values.yaml")
	require.NoError(t, err, out)
	for name := range read(t, out) {
		require.LessOrEqual(t, len(strings.Fields(name)[1]), 63, name)
	}
	dashboard := read(t, templated(t, "required-values.yaml", "--set", "dashboard.labels.grafana_dashboard=null"))["ConfigMap x-detachd-dashboard"]
	require.NotContains(t, dashboard.Metadata.Labels, "grafana_dashboard")

	// Without the switches there is nothing that needs more than Kubernetes, and no dashboard if it is not wanted.
	var kinds []string
	for _, o := range read(t, templated(t, "required-values.yaml", "--set", "dashboard.enabled=false")) {
		kinds = append(kinds, o.Kind)
	}
	slices.Sort(kinds)
	require.Equal(t, []string{
		"ConfigMap", "Deployment", "Deployment", "NetworkPolicy", "NetworkPolicy", "Pod", "PodDisruptionBudget", "PodDisruptionBudget",
		"Service", "Service",
	}, kinds)
}

// What docs/kubernetes.md renders for an overlay of Kustomize is rendered, with the values that it shows.
func TestMonitoringOfTheDocs(t *testing.T) {
	page, err := os.ReadFile("../docs/kubernetes.md")
	require.NoError(t, err)
	shown := regexp.MustCompile("(?s)```yaml\n(.*?)```").FindStringSubmatch(string(page))[1]
	values := filepath.Join(t.TempDir(), "values.yaml")
	require.NoError(t, os.WriteFile(values, []byte(strings.Replace(shown, "sha256:…", "sha256:"+strings.Repeat("a", 64), 1)), 0o600))
	command := regexp.MustCompile(`(?s)\$ helm (template .*?) > monitoring\.yaml`).FindStringSubmatch(string(page))[1]
	args := strings.Fields(strings.NewReplacer("\\\n", " ", "deploy/helm/detachd", chart, "values.yaml", values).Replace(command))
	out, err := run(t, helm, append(args, "--kube-version", "1.30.0")...)
	require.NoError(t, err, out)
	require.Contains(t, out, "kind: ServiceMonitor")
	require.Contains(t, out, "kind: PrometheusRule")
}

// The alerts and the dashboard are those of the files.
func TestMonitoringIsThatOfTheFiles(t *testing.T) {
	t.Parallel()
	objects := read(t, templated(t, "everything-values.yaml"))
	rules, err := os.ReadFile(chart + "/files/prometheus-rules.yaml")
	require.NoError(t, err)
	require.Equal(t, parse(t, string(rules)), objects.spec(t, "PrometheusRule leavers"))
	dashboard, err := os.ReadFile(chart + "/files/grafana-dashboard.json")
	require.NoError(t, err)
	shown := objects["ConfigMap leavers-dashboard"]
	require.Equal(t, "1", shown.Metadata.Labels["grafana_dashboard"])
	require.Equal(t, []string{"detachd.json"}, slices.Collect(maps.Keys(shown.Data)))
	require.JSONEq(t, string(dashboard), shown.Data["detachd.json"])
}

// A change of the configuration restarts the pods, and one of something else does not.
func TestConfigurationsRestartPods(t *testing.T) {
	t.Parallel()
	sum := func(flags ...string) any {
		return at(t, read(t, templated(t, "required-values.yaml", flags...)).spec(t, "Deployment x-detachd-worker"),
			"template", "metadata", "annotations", "checksum/config")
	}
	first := sum()
	require.Len(t, first, 64)
	require.NotEqual(t, first, sum("--set", "config.log.level=debug"))
	require.NotEqual(t, first, sum("--set", "worker.shutdownSeconds=46"))
	require.Equal(t, first, sum("--set", "worker.replicas=5"))
}

// What must not be is refused, with the key.
func TestTheChartRefuses(t *testing.T) {
	t.Parallel()
	for _, x := range []struct{ set, says string }{
		{"image.digest=", "/image/digest"},
		{"image.digest=v1.2.3", "/image/digest"},
		{"image.tag=latest", "'tag' not allowed"},
		{"image.repository=", "/image/repository"},
		{"config=null", "missing property 'config'"},
		{"config.projects=null", "/config/projects"},
		{"config.credentials[0].secret_key=hunter2", "/config/credentials/0/secret_key"},
		{"config.credentials[0].secret_key.value=hunter2", "/config/credentials/0/secret_key"},
		{"config.redis.password=hunter2", "/config/redis/password"},
		{"config.redis.url=redis://u:hunter2@redis/0", "/config/redis/url"},
		{"config.projects[0].project_id=1", "/config/projects/0/project_id"},
		{"config.worker.shutdown_timeout=5m", "/config/worker/shutdown_timeout"},
		{"worker.replicas=0", "/worker/replicas"},
		{"worker.resources.limits.memory=null", "/worker/resources/limits"},
		{"networkPolicy.redis.to=null", "/networkPolicy/redis"},
		{"networkPolicy.dns=", "/networkPolicy/dns"},
		{"networkPolicy.extraEgress[0].ports[0].port=4318", "/networkPolicy/extraEgress/0"},
		{"extraEnv[0].name=OTEL_BSP_MAX_QUEUE_SIZE,extraEnv[0].value=8192", "/extraEnv/0/value"},
		{"nameOverride=" + strings.Repeat("n", 64), "/nameOverride"},
		{"nameOverride=de.tachd", "x-de.tachd cannot be the name of a Service"},
		{"fullnameOverride=2leavers", "2leavers cannot be the name of a Service"},
		{"server.tls=null", "missing property 'tls'"},
		{"server.service=null", "missing property 'service'"},
		{"serviceMonitor.serverKey.name=metrics", "/serviceMonitor/serverKey/key"},
		{"serviceMonitor.enabled=true", "Name the pods of Prometheus in networkPolicy.metrics"},
		{"workers=3", "'workers' not allowed"},
	} {
		out, err := run(t, helm, "template", "x", chart, "--kube-version", "1.30.0", "-f", chart+"/ci/required-values.yaml", "--set", x.set)
		require.Error(t, err, x.set)
		require.Contains(t, out, x.says, x.set)
		require.NotContains(t, out, "hunter2", x.set)
	}
	out, err := run(t, helm, "template", "x", chart, "--kube-version", "1.29.0", "-f", chart+"/ci/required-values.yaml")
	require.Error(t, err)
	require.Contains(t, out, "chart requires kubeVersion: >=1.30.0-0")
}

// The base alone has an image that no registry has: an overlay must name one.
func TestTheBaseIsNoInstallation(t *testing.T) {
	t.Parallel()
	out, err := run(t, kustomize, "build", "kustomize/base")
	require.NoError(t, err, out)
	for component, pod := range read(t, out).pods(t) {
		require.Equal(t, "registry.invalid/detachd", at(t, pod, "containers", 0, "image"), component)
	}
}

// What is rendered has no field that Kubernetes does not know. The types are those of a module
// of its own in testdata/strict.
func TestKubernetesKnowsEveryField(t *testing.T) {
	t.Parallel()
	strict := filepath.Join(t.TempDir(), "strict")
	if out, err := built("testdata/strict", "mod", "download"); err != nil {
		redistest.Missing(t, "the types of Kubernetes cannot be downloaded: "+out)
	}
	out, err := built("testdata/strict", "build", "-o", strict, ".")
	require.NoError(t, err, out)
	check := func(text string) ([]byte, error) {
		c := exec.CommandContext(t.Context(), strict)
		c.Stdin = strings.NewReader(text)
		return c.CombinedOutput()
	}
	for name, text := range renders(t) {
		said, err := check(text)
		require.NoError(t, err, "%s: %s", name, said)
	}
	said, err := check(strings.Replace(overlay(t), "readOnlyRootFilesystem", "readOnlyRootFileSystem", 1))
	require.Error(t, err)
	require.Contains(t, string(said), `unknown field "spec.template.spec.containers[0].securityContext.readOnlyRootFileSystem"`)
}
