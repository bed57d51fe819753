package main

import (
	"errors"
	"io"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"github.com/creack/pty"
	"github.com/rivo/uniseg"
	"github.com/stretchr/testify/require"
)

var colours = regexp.MustCompile(`\x1b\[[0-9;]*m`)

// onTerminal runs the program on a terminal of a width and gives what it shows.
func onTerminal(t *testing.T, columns uint16, env []string, args ...string) string {
	t.Helper()
	cmd := exec.Command(os.Args[0], args...)
	cmd.Env = append(env, "TERM=xterm")
	terminal, err := pty.StartWithSize(cmd, &pty.Winsize{Rows: 40, Cols: columns})
	require.NoError(t, err)
	text, _ := io.ReadAll(terminal) // a terminal ends with an error when the program does
	require.NoError(t, terminal.Close())
	if err := cmd.Wait(); err != nil {
		_, ended := errors.AsType[*exec.ExitError](err)
		require.True(t, ended, err)
	}
	return strings.ReplaceAll(string(text), "\r\n", "\n")
}

func TestOnATerminal(t *testing.T) {
	dev := start(t, append(os.Environ(), beProgram+"=1"), "dev", "--redis", "127.0.0.1:0")
	_, config, _ := strings.Cut(dev.until(t, "DETACHD_CONFIG="), "=")
	env := []string{beProgram + "=1", "DETACHD_CONFIG=" + config, "USER=jo", "GORACE=" + os.Getenv("GORACE")}
	run := func(args ...string) (string, int) {
		cmd := exec.Command(os.Args[0], args...)
		cmd.Env = env
		out, err := cmd.Output()
		if err != nil {
			exit, ended := errors.AsType[*exec.ExitError](err)
			require.True(t, ended, err)
			return string(out), exit.ExitCode()
		}
		return string(out), 0
	}
	out, code := run("detach", "--project", "hq", "team-1", "--wait", "--ticket", "\u4e2d\u6587-4711")
	require.Equal(t, 4, code, out)
	id := strings.Fields(strings.Split(out, "\n")[1])[0]

	commands := map[string][]string{
		"list": {"list"}, "failures": {"failures"}, "desktops": {"desktops", id}, "history": {"history", "team-1"}, "stats": {"stats"},
		"codes": {"codes"}, "plan": {"detach", "--project", "hq", "team-1", "--plan"},
	}
	for name, args := range commands {
		for _, columns := range []uint16{80, 120, 250} {
			text := colours.ReplaceAllString(onTerminal(t, columns, env, args...), "")
			lines := strings.Split(text, "\n")
			require.Greater(t, len(lines), 2, name)
			for _, line := range lines {
				// Messages are sentences, which the terminal breaks.
				if strings.Contains(line, "  ") {
					require.LessOrEqual(t, uniseg.StringWidth(line), int(columns), "%s: %q", name, line)
				}
			}
		}
	}

	list := onTerminal(t, 80, env, "list")
	require.Contains(t, list, "\x1b[1mOPERATION\x1b[0m")
	require.Contains(t, list, "\x1b[33m1\x1b[0m", "the count on hold")
	require.NotContains(t, list, "CANCELLED")
	require.Contains(t, onTerminal(t, 80, env, "list", "-o", "wide"), "CANCELLED")
	// Advice is wrapped: none of it is cut.
	require.NotContains(t, onTerminal(t, 120, env, "codes"), "…")
	require.NotContains(t, onTerminal(t, 80, append(env, "NO_COLOR=1"), "list"), "\x1b")
	for zone, offset := range map[string]string{"Asia/Shanghai": " +08:00", "UTC": " +00:00"} {
		require.Contains(t, onTerminal(t, 120, append(env, "TZ="+zone), "list"), offset, "times have their offset")
	}
	piped, _ := run("list")
	require.NotContains(t, piped, "\x1b")
	require.Contains(t, piped, "CANCELLED", "nothing is omitted where no terminal limits it")
	require.Contains(t, onTerminal(t, 80, env, "status", "nowhere"), "\x1b[31mdetachd:\x1b[0m operation nowhere")

	summary := onTerminal(t, 80, env, "report", id)
	require.Contains(t, summary, "verified: its hash chains match the request and its 1 row")
	require.Contains(t, summary, "detachd report "+id+" -o ")
	require.NotContains(t, summary, "<")
	require.Contains(t, onTerminal(t, 80, env, "report", id, "--format", "html"), "<!DOCTYPE html>")
	html, _ := run("report", id)
	require.Contains(t, html, "<!DOCTYPE html>", "elsewhere it is the report")
	require.Contains(t, onTerminal(t, 80, env, "report", "nowhere"), "operation nowhere: no such operation")
}
