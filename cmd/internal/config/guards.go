package config

import (
	"cmp"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"github.com/detachd/detachd/tasks"
)

// Guards are the settings that protect people and the cloud, by name, without secrets: whose
// change the audit log has.
func (c Config) Guards() map[string]string {
	out := map[string]string{
		"retention": c.Retention.String(), "access_removed_within": c.AccessRemovedWithin.String(),
		"redis.wait_replicas": strconv.Itoa(c.Redis.WaitReplicas), "worker.max_attempts": strconv.Itoa(c.Worker.MaxAttempts),
		"worker.first_look": c.Worker.FirstLook.String(), "worker.confirm_within": c.Worker.ConfirmWithin.String(),
	}
	for _, x := range c.Credentials {
		name := "credentials." + x.Name + "."
		out[name+"calls_per_minute"], out[name+"reads_per_minute"] = strconv.Itoa(x.CallsPerMinute), strconv.Itoa(x.ReadsPerMinute)
		out[name+"burst"] = strconv.Itoa(x.Burst)
	}
	for _, p := range c.Projects {
		name := "projects." + p.Alias + "."
		out[name+"project_id"], out[name+"endpoint"] = p.ProjectID, cmp.Or(p.Endpoint, p.Region)
		out[name+"credentials"], out[name+"unknown_users"] = p.Credential, p.UnknownUsers
		out[name+"max_in_flight"], out[name+"max_reads"] = strconv.Itoa(p.Limits.MaxInFlight), strconv.Itoa(p.Limits.MaxReads)
		out[name+"call_timeout"] = p.Limits.CallTimeout.String()
		out[name+"require.reason"], out[name+"require.ticket"] = strconv.FormatBool(p.Require.Reason), strconv.FormatBool(p.Require.Ticket)
		var blackouts []string
		for _, b := range p.Blackouts {
			blackouts = append(blackouts, b.text(p.Zone))
		}
		out[name+"blackouts"], out[name+"zone"] = strings.Join(blackouts, ", "), p.Zone
		a := p.Approval
		out[name+"approval"] = fmt.Sprintf("%d desktops, %d %%, %s, in %s, expires after %s", a.Desktops, a.Percent, a.Match, a.Window, a.Expires)
		out[name+"approval.second_person_above"] = strconv.Itoa(a.SecondPersonAbove)
		out[name+"approval.undo"] = fmt.Sprintf("another person above %d desktops, within %s", a.UndoSecondPersonAbove, a.UndoWithin)
	}
	for _, p := range c.Protections() {
		of := "protected." + p.Name + "."
		if p.Project != "" {
			of = "projects." + p.Project + "." + of
		}
		of += string(p.Kind)
		out[of] = strings.TrimPrefix(out[of]+", "+p.Pattern, ", ")
	}
	for _, s := range c.Schedules {
		out["schedules."+s.Name] = scheduleText(s)
	}
	for i, x := range c.Codes {
		out[fmt.Sprintf("codes.%d", i+1)] = fmt.Sprintf("%s %d %s: %s", x.Of, x.Status, x.Code, x.Class)
	}
	return out
}

// scheduleText is a schedule as JSON. A long list in it is cut, and any change of it still shows.
func scheduleText(s tasks.Schedule) string {
	const longest = 500
	text, err := json.Marshal(s)
	if err != nil {
		return err.Error() // it has no type that JSON lacks
	}
	if len(text) <= longest {
		return string(text)
	}
	return fmt.Sprintf("%s… (SHA-256 %x)", strings.ToValidUTF8(string(text[:longest]), ""), sha256.Sum256(text))
}
