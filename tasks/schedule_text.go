package tasks

import (
	"strconv"
	"strings"
)

// Text describes a schedule in a line, for lists and the audit log: when it runs, and whose
// access its operations remove.
func (s Schedule) Text() string {
	return strings.TrimSpace(s.Cron+" "+s.Zone) + ", " + s.Source.String()
}

// String describes the source in a few words.
func (s ScheduleSource) String() string {
	switch {
	case s.File != "":
		return "file " + s.File
	case s.Selector != nil:
		return s.Selector.String()
	case s.NotIn != nil && s.NotIn.Selector != nil:
		return "not in " + s.NotIn.File + ", of " + s.NotIn.Selector.String()
	case s.NotIn != nil:
		return "not in " + s.NotIn.File
	case s.CameBack != nil:
		return "came back within " + s.CameBack.Since.String()
	}
	var parts []string
	for _, x := range []struct {
		what  string
		names []string
	}{{"desktop", s.Desktops}, {"user", s.Users}, {"computer", s.Computers}} {
		switch len(x.names) {
		case 0:
		case 1:
			parts = append(parts, x.what+" "+x.names[0])
		default:
			parts = append(parts, strconv.Itoa(len(x.names))+" "+x.what+"s")
		}
	}
	return strings.Join(parts, ", ")
}

// String describes the selector in a few words.
func (s Selector) String() string {
	var parts []string
	for _, x := range []struct{ what, text string }{{"pool", s.Pool}, {"tag", s.Tag}, {"computer", s.Computer}} {
		if x.text != "" {
			parts = append(parts, x.what+" "+x.text)
		}
	}
	if s.UnusedDays > 0 {
		parts = append(parts, "unused for "+strconv.Itoa(s.UnusedDays)+" days")
	}
	if s.User != "" {
		parts = append(parts, "users "+string(s.User))
	}
	return "desktops: " + strings.Join(parts, ", ")
}
