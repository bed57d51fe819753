package tasks_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/detachd/detachd/tasks"
)

func TestTraceparent(t *testing.T) {
	t.Parallel()
	const ids = "4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7"
	for sent, read := range map[string]string{
		"00-" + ids + "-01":                  "00-" + ids + "-01",
		"01-" + ids + "-01":                  "00-" + ids + "-01",
		"fe-" + ids + "-00-a=b;c":            "00-" + ids + "-00",
		"cc-" + ids + "-01-":                 "00-" + ids + "-01",
		"":                                   "",
		"ff-" + ids + "-01":                  "",
		"01-" + ids + "-01.x":                "",
		"01-" + ids + "-011":                 "",
		"01-" + ids:                          "",
		"0g-" + ids + "-01":                  "",
		"00-" + ids + "-01-x":                "",
		"00-" + ids + "-01-":                 "",
		"00-" + ids + "-01\n":                "",
		"01-" + ids + "-01-a\nb":             "",
		strings.ToUpper("00-" + ids + "-01"): "",
		"00-00000000000000000000000000000000-00f067aa0ba902b7-01": "",
		"02-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01": "",
	} {
		require.Equal(t, read, tasks.Traceparent(sent), sent)
		require.Equal(t, read == "", tasks.TraceID(sent) == "", sent)
	}
	require.Equal(t, ids[:32], tasks.TraceID("07-"+ids+"-01"))
	require.Equal(t, ids[33:], tasks.SpanID("07-"+ids+"-01"))
	require.Empty(t, tasks.SpanID("07-"+ids))
}

func TestTracestate(t *testing.T) {
	t.Parallel()
	var many []string
	for i := range 33 {
		many = append(many, fmt.Sprintf("k%d=v", i))
	}
	long := "a=" + strings.Repeat("x", 256)
	for _, c := range []struct {
		sent []string
		kept string
	}{
		{nil, ""},
		{[]string{""}, ""},
		{[]string{"rojo=00f067aa0ba902b7,congo=t61rcWkgMzE"}, "rojo=00f067aa0ba902b7,congo=t61rcWkgMzE"},
		{[]string{"rojo=1", "tenant@vendor=2 3"}, "rojo=1,tenant@vendor=2 3"},
		{[]string{" rojo=1 ,\t,congo=2,"}, "rojo=1,congo=2"},
		{[]string{"0day=1"}, "0day=1"},
		{many[:32], strings.Join(many[:32], ",")},
		{many, ""},
		{[]string{long}, long},
		{[]string{long, "b=" + strings.Repeat("y", 256)}, long},
		{[]string{"a=" + strings.Repeat("x", 257)}, ""},
		{[]string{"Rojo=1"}, ""},
		{[]string{"rojo"}, ""},
		{[]string{"rojo="}, ""},
		{[]string{"=1"}, ""},
		{[]string{"rojo=1=2"}, ""},
		{[]string{"rojo=1,rojo=2"}, ""},
		{[]string{"rojo=\x1b[2J"}, ""},
		{[]string{"rojo=\r\nX: y"}, ""},
		{[]string{"rojo=é"}, ""},
	} {
		require.Equal(t, c.kept, tasks.Tracestate(c.sent...), "%q", c.sent)
	}
}
