package fakecloud

import "strings"

// readPlain reads a detach call in the form of nearly every client:
//
//	{"desktop_ids":["a","b"],"shutoff_after_detach":true}
//
// with or without the bool, and without spaces, escapes or anything else. It returns false
// for all other bodies, valid or not, which are for encoding/json: that takes most of the
// time of a call of 100 desktops.
func (call *detachCall) readPlain(body string) bool {
	rest, found := strings.CutPrefix(strings.TrimSuffix(body, "\n"), `{"desktop_ids":[`)
	if !found {
		return false
	}
	ids := make([]string, 0, min(maxDesktops, 1+len(rest)/8))
	for more := true; more; {
		var id string
		if id, rest, found = plainString(rest); !found || rest == "" {
			return false
		}
		ids = append(ids, id)
		more = rest[0] == ','
		if more {
			rest = rest[1:]
		}
	}
	var shutoff *bool
	switch rest {
	case `]}`:
	case `],"shutoff_after_detach":true}`, `],"shutoff_after_detach":false}`:
		is := strings.HasSuffix(rest, "true}")
		shutoff = &is
	default:
		return false
	}
	call.ids, call.shutoff = ids, shutoff
	return true
}

// plainString reads a JSON string of printable ASCII without escapes from the start of s.
func plainString(s string) (value, rest string, ok bool) {
	if s == "" || s[0] != '"' {
		return "", "", false
	}
	for i := 1; i < len(s); i++ {
		switch c := s[i]; {
		case c == '"':
			return s[1:i], s[i+1:], true
		case c == '\\' || c < ' ' || c > '~':
			return "", "", false
		}
	}
	return "", "", false
}
