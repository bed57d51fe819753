package dashboard

import (
	"net/http"
	"regexp"
	"strings"
	"time"

	"github.com/detachd/detachd/cmd/internal/when"
	"github.com/detachd/detachd/tasks"
	"github.com/detachd/detachd/tasks/api"
)

// zoneName is the cookie with the time zone of a visitor. The script sets it to the zone
// of the browser, and a form at the foot of each page changes it. Without it times are UTC.
const zoneName = "__Host-detachd-zone"

var zoneText = regexp.MustCompile(`^[A-Za-z0-9_+/-]{1,64}$`)

// zoneNamed returns a zone by its IANA name.
func zoneNamed(name string) (*time.Location, bool) {
	if !zoneText.MatchString(name) || name == "Local" { // not the zone of the server
		return time.UTC, false
	}
	z, err := time.LoadLocation(name)
	if err != nil {
		return time.UTC, false
	}
	return z, true
}

// zone returns the time zone of the visitor, UTC if it is unknown.
func (v *visit) zone() *time.Location {
	if c, err := v.Cookie(zoneName); err == nil {
		z, _ := zoneNamed(c.Value)
		return z
	}
	return time.UTC
}

// zoneUnset reports that the script may set the browser's zone and reload the page.
func (v *visit) zoneUnset() bool {
	_, err := v.Cookie(zoneName)
	return err != nil && v.Method == http.MethodGet
}

// switchZone handles the form at the foot of pages. Empty resets to the browser's zone.
func (v *visit) switchZone() error {
	if err := v.ParseForm(); err != nil {
		return badForm(err)
	}
	to, name := ownPath(v.PostFormValue("to")), strings.TrimSpace(v.PostFormValue("zone"))
	age := int((365 * 24 * time.Hour).Seconds())
	if name == "" {
		age = -1
	} else if _, known := zoneNamed(name); !known {
		return invalidField("zone", "is not a time zone: use one such as Europe/Berlin, Asia/Shanghai or UTC")
	}
	v.cookie(zoneName, name, age)
	http.Redirect(v.w, v.Request, to, http.StatusSeeOther)
	return nil
}

// shown is a time in the zone of a page. Templates show only such times.
type shown struct{ time.Time }

// In converts a time to the page's zone.
func (f frame) In(t time.Time) shown { return shown{t.In(f.Zone)} }

// shownPace is a pace whose end is in the page's zone.
type shownPace struct {
	PerMinute float64
	EndsAt    shown
}

// PaceOf converts a pace for the page.
func (f frame) PaceOf(p tasks.Pace) shownPace { return shownPace{p.PerMinute, f.In(p.EndsAt)} }

func stamp(t shown) string { return t.Format("2006-01-02 15:04:05") }

// exact also has the offset, as answers to typed times do.
func exact(t shown) string { return when.Show(t.Time) }

// exactly is exact for notices; empty for the zero time.
func (v *visit) exactly(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return when.Show(t.In(v.zone()))
}

func offset(t shown) string { return t.Format("UTC-07:00") }

func utc(t shown) string { return t.UTC().Format("2006-01-02 15:04:05") + " UTC" }

// times parses fields with times in a zone and collects the faults.
type times struct {
	now    time.Time
	zone   *time.Location
	faults []api.Fault
}

// times parses in the page's zone, or in the zone that the form was shown in.
func (v *visit) times() times {
	t := times{now: v.d.Now(), zone: v.zone()}
	if z, known := zoneNamed(v.PostFormValue("in_zone")); known {
		t.zone = z
	}
	return t
}

func (t *times) parse(name, text string) time.Time {
	at, err := when.Parse(text, t.now, t.zone, when.Next)
	if err != nil {
		t.faults = append(t.faults, api.Fault{Pointer: name, Detail: err.Error()})
	}
	return at.UTC()
}

// field is parse for a field of a filter, which then shows the time as browsers have it in
// such fields, whatever was in the address.
func (t *times) field(name string, text *string) time.Time {
	at := t.parse(name, *text)
	if !at.IsZero() {
		*text = at.In(t.zone).Format("2006-01-02T15:04:05")
	}
	return at
}

// parseStart also accepts the word now.
func (t *times) parseStart(name, text string) api.NotBefore {
	if text == "now" {
		return api.NotBefore{Now: true}
	}
	return api.NotBefore{At: t.parse(name, text)}
}

func (t *times) err() error {
	if len(t.faults) == 0 {
		return nil
	}
	return &api.Problem{Status: http.StatusBadRequest, Code: api.CodeInvalid, Errors: t.faults}
}
