package cli

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestProtectAndRefuse(t *testing.T) {
	inBothModes(t, func(t *testing.T, s *stage) {
		s.ok(t, "protect", "add", "board", "--user", "Ann", "--reason", "one of the board")
		s.ok(t, "protect", "add", "kiosks", "--computer", "KIOSK-*", "--project", "hq")
		s.refused(t, exitUsage, "with this name already", "protect", "add", "board", "--user", "bo")
		s.refused(t, exitUsage, "2 of --desktop, --user", "protect", "add", "x", "--user", "bo", "--tag", "a=b")
		s.refused(t, exitUsage, "0 of --desktop, --user", "protect", "add", "x")
		s.refused(t, exitUsage, "is not a pattern", "protect", "add", "x", "--computer", "[")
		r := s.run(t, "protect", "add", "x", "--user", "bo ")
		require.Contains(t, r.err, "has space at an end")
		require.NotContains(t, r.err, "--pattern", "no flag has this name")
		s.refused(t, exitUsage, `"nowhere" is not configured`, "protect", "add", "x", "--user", "bo", "--project", "nowhere")
		out := s.ok(t, "protect", "list")
		require.Regexp(t, `board +user +Ann +- .* one of the board`, out)
		require.Regexp(t, `kiosks +computer +KIOSK-\* +hq`, out)
		require.Len(t, s.json(t, exitOK, "protect", "list", "--json")["items"], 2)

		s.refused(t, exitUsage, `"ANN" is protected by the rule board`, "detach", "--project", "hq", "--user", "bo", "--user", "ANN")
		s.refused(t, exitUsage, `"kiosk-1" is protected by the rule kiosks`, "detach", "--project", "hq", "--computer", "kiosk-1", "--plan")
		require.Empty(t, s.operations(t))
		s.refused(t, exitUsage, "is required", "protect", "remove", "board")
		s.refused(t, exitUsage, "no such protection", "protect", "remove", "nothing", "--reason", "x")
		s.ok(t, "protect", "remove", "board", "--reason", "left the board")
		s.ok(t, "detach", "--project", "hq", "--user", "ann")
		require.Regexp(t, `protection.removed .*board .*left the board`, s.ok(t, "audit", "-o", "wide"))
	})
}

// The policy has what IAM knows, ids and tags; the rest is said, and not passed over.
func TestIAMPolicy(t *testing.T) {
	inBothModes(t, func(t *testing.T, s *stage) {
		s.refused(t, exitUsage, "none was printed", "guard", "iam-policy")
		const id = "8f0e0c9a-4f4e-4c5b-9c53-0d0f5a3a2b11"
		s.ok(t, "protect", "add", "a", "--desktop", "8F0E0C9A-4F4E-4C5B-9C53-0D0F5A3A2B11")
		s.ok(t, "protect", "add", "b", "--tag", "role=jump host", "--project", "hq")
		s.ok(t, "protect", "add", "c", "--tag", "critical")
		s.ok(t, "protect", "add", "d", "--user", "ann")
		r := s.run(t, "guard", "iam-policy")
		require.Equal(t, exitOK, r.code, r.err)
		require.Contains(t, r.err, "not in the policy: d (user ann)")
		require.Contains(t, r.err, "denies b in all projects")
		deny := `"Effect":"Deny","Action":["workspace:desktops:detach","workspace:desktops:batchDetach"]`
		want := `{"Version":"5.0","Statement":[
			{"Sid":"detachd-1-a",` + deny + `,"Resource":["workspace:*:*:desktop:` + id + `"]},
			{"Sid":"detachd-2-b",` + deny + `,"Resource":["workspace:*:*:desktop:*"],"Condition":{"StringEquals":{"g:ResourceTag/role":["jump host"]}}},
			{"Sid":"detachd-3-c",` + deny + `,"Resource":["workspace:*:*:desktop:*"],"Condition":{"StringMatch":{"g:ResourceTag/critical":["*"]}}}]}`
		require.JSONEq(t, want, r.out)
	})
}

func TestQuotasOnTheCommandLine(t *testing.T) {
	inBothModes(t, func(t *testing.T, s *stage) {
		v := s.json(t, exitOK, "keys", "create", "--name", "hr", "--role", "producer", "--desktops-per-hour", "100", "--desktops-per-day", "400", "--json")
		require.Equal(t, []any{100.0, 400.0}, []any{v["desktops_per_hour"], v["desktops_per_day"]})
		require.Regexp(t, `hr .* 100 +400 `, s.ok(t, "keys", "list"))
		s.refused(t, exitUsage, "1 or more", "keys", "create", "--name", "hr", "--role", "producer", "--desktops-per-day", "-1")
		s.refused(t, exitUsage, "--desktops-per-hour is 0", "keys", "create", "--name", "hr", "--role", "producer", "--desktops-per-hour", "0")
	})
}
