package house

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"
)

// hardening is the list of the units. With it systemd-analyze scores 1.1, and the promise is 1.5.
var hardening = []string{
	"CapabilityBoundingSet=", "DynamicUser=yes", "LockPersonality=yes", "MemoryDenyWriteExecute=yes", "NoNewPrivileges=yes",
	"PrivateDevices=yes", "PrivateMounts=yes", "PrivateTmp=yes", "PrivateUsers=yes", "ProcSubset=all", "ProtectClock=yes",
	"ProtectControlGroups=yes", "ProtectHome=tmpfs", "ProtectHostname=yes", "ProtectKernelLogs=yes", "ProtectKernelModules=yes",
	"ProtectKernelTunables=yes", "ProtectProc=invisible", "ProtectSystem=strict", "RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX",
	"RestrictNamespaces=yes", "RestrictRealtime=yes", "RestrictSUIDSGID=yes", "SystemCallArchitectures=native",
	"SystemCallErrorNumber=EPERM", "SystemCallFilter=@system-service", "SystemCallFilter=~@privileged @resources", "UMask=0077",
}

// running are the other keys of the units. A key that is in neither list may undo the hardening.
var running = []string{"EnvironmentFile", "ExecStart", "LoadCredential", "Restart", "RestartSec", "TimeoutStopSec"}

// The list is compared in full, because most machines that run tests have no systemd. Those
// that have it also compute the score.
func TestUnitsAreHardened(t *testing.T) {
	t.Parallel()
	for _, unit := range []string{"detachd-worker.service", "detachd-server.service"} {
		path := filepath.Join(root, "deploy", unit)
		text, err := os.ReadFile(path)
		require.NoError(t, err)
		_, service, _ := strings.Cut(string(text), "\n[Service]\n")
		service, _, _ = strings.Cut(service, "\n[Install]\n")
		var found []string
		for line := range strings.Lines(strings.ReplaceAll(service, "\\\n", "")) {
			line = strings.TrimSpace(line)
			key, _, _ := strings.Cut(line, "=")
			if line != "" && !strings.HasPrefix(line, "#") && !slices.Contains(running, key) {
				found = append(found, line)
			}
		}
		require.ElementsMatch(t, hardening, found, unit)
		if analyze, err := exec.LookPath("systemd-analyze"); err == nil {
			out, err := exec.CommandContext(t.Context(), analyze, "security", "--offline=true", "--no-pager", "--threshold=15", path).CombinedOutput()
			require.NoError(t, err, "%s", out)
		}
	}
}

// composeService is what the test looks at in a service of compose.yaml, with its anchors merged.
type composeService struct {
	ReadOnly    bool     `yaml:"read_only"`
	CapDrop     []string `yaml:"cap_drop"`
	CapAdd      []string `yaml:"cap_add"`
	SecurityOpt []string `yaml:"security_opt"`
	Privileged  bool     `yaml:"privileged"`
	User        string   `yaml:"user"`
	Pids        int      `yaml:"pids_limit"`
	Memory      string   `yaml:"mem_limit"`
	Command     any      `yaml:"command"`
	Ports       []string `yaml:"ports"`
	Healthcheck struct {
		Test []string `yaml:"test"`
	} `yaml:"healthcheck"`
}

func TestContainersAreHardened(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(filepath.Join(root, "deploy/compose.yaml"))
	require.NoError(t, err)
	var file struct {
		Services map[string]composeService `yaml:"services"`
	}
	require.NoError(t, yaml.Unmarshal(text, &file))
	asks := func(port string) []string {
		return []string{"CMD", "/detachd", "doctor", "--ready", "http://127.0.0.1:" + port}
	}
	for name, want := range map[string]struct {
		user    string // empty: that of the image
		command any
		ports   []string
		health  []string
	}{
		"redis": {user: "redis", health: []string{"CMD", "redis-cli", "ping"},
			command: "redis-server --appendonly yes --appendfsync everysec --maxmemory 1gb --maxmemory-policy noeviction"},
		"worker":   {command: []any{"worker", "--listen", "127.0.0.1:9090"}, health: asks("9090")},
		"worker-2": {command: []any{"worker", "--listen", "127.0.0.1:9090"}, health: asks("9090")},
		"server":   {command: []any{"serve", "--listen", ":8080"}, ports: []string{"127.0.0.1:8080:8080"}, health: asks("8080")},
	} {
		got := file.Services[name]
		delete(file.Services, name)
		require.NotEmpty(t, got.Memory, name)
		expected := composeService{
			ReadOnly: true, CapDrop: []string{"ALL"}, SecurityOpt: []string{"no-new-privileges:true"}, Pids: 256,
			User: want.user, Command: want.command, Ports: want.ports, Memory: got.Memory,
		}
		expected.Healthcheck.Test = want.health
		require.Equal(t, expected, got, name)
	}
	require.Empty(t, file.Services, "these are not looked at")
	image, err := os.ReadFile(filepath.Join(root, "deploy/Dockerfile"))
	require.NoError(t, err)
	require.Contains(t, string(image), "\nUSER 65532:65532\n")
}
