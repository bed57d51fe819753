package dashboard

import (
	"cmp"
	"net/http"
	"strconv"

	"github.com/detachd/detachd/tasks/api"
)

// codes is the page that explains error codes and readings.
type codes struct{ api.Codes }

// Status formats a row's HTTP status. A single digit stands for its whole class.
func (codes) Status(n int) string {
	switch {
	case n == 0:
		return "any"
	case n < 10:
		return strconv.Itoa(n) + "xx"
	}
	return strconv.Itoa(n)
}

func (v *visit) codes() error {
	c, err := v.api.Codes(v.Context())
	if err != nil {
		return err
	}
	return v.page(http.StatusOK, "codes", "What error codes mean", codes{c})
}

// meanings explains codes and classes by the tables of the workers.
type meanings struct {
	codes   map[string]string
	advices map[string]string // by code, if it has its own
	classes map[string]api.Class
}

// advice says what a person can do about a code.
func (m meanings) advice(code, class string) string {
	return cmp.Or(m.advices[code], m.classes[class].Advice)
}

func (v *visit) meanings() (meanings, error) {
	c, err := v.api.Codes(v.Context())
	m := meanings{map[string]string{}, map[string]string{}, map[string]api.Class{}}
	// The first row of a code applies. Rows about single desktops go before rows about calls.
	for _, of := range []string{"worker", "desktop", "call"} {
		for _, x := range c.Codes {
			if x.Of == of && x.Code != "" {
				m.codes[x.Code] = cmp.Or(m.codes[x.Code], x.Why)
				m.advices[x.Code] = cmp.Or(m.advices[x.Code], x.Advice)
			}
		}
	}
	for _, x := range c.Readings {
		if x.Code != "" {
			m.codes[x.Code] = cmp.Or(m.codes[x.Code], x.Why)
			m.advices[x.Code] = cmp.Or(m.advices[x.Code], x.Advice)
		}
	}
	for _, x := range c.Classes {
		m.classes[x.Class] = x
	}
	return m, err
}
