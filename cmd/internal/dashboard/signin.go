package dashboard

import (
	"errors"
	"fmt"
	"math"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/detachd/detachd/cmd/internal/access"
	"github.com/detachd/detachd/cmd/internal/server"
	"github.com/detachd/detachd/tasks"
)

// Browsers accept cookies with this prefix only over TLS or from the same machine, and
// from no other host of the domain (RFC 6265bis).
const (
	sessionName = "__Host-detachd"
	noticeName  = "__Host-detachd-notice"
)

func (v *visit) cookie(name, value string, maxAge int) {
	http.SetCookie(v.w, &http.Cookie{
		Name: name, Value: value, Path: "/", MaxAge: maxAge, Secure: true, HttpOnly: true, SameSite: http.SameSiteLaxMode,
	})
}

func (v *visit) sessionCookie() string {
	c, err := v.Cookie(sessionName)
	if err != nil {
		return ""
	}
	return c.Value
}

// askToSignIn leads to the sign-in page, which leads back.
func (v *visit) askToSignIn() error {
	if v.refreshes() {
		v.w.WriteHeader(http.StatusUnauthorized) // the script shows it on the page
		return nil
	}
	q, to := url.Values{}, v.URL.RequestURI()
	if v.Method != http.MethodGet && v.URL.Path != "/signout" {
		q.Set("unsent", "1") // or people would believe that what they sent was done
		to = v.cameFrom()
	}
	if v.URL.Path != "/signout" && to != "/" {
		q.Set("to", to)
	}
	where := url.URL{Path: "/signin", RawQuery: q.Encode()}
	http.Redirect(v.w, v.Request, where.String(), http.StatusSeeOther)
	return nil
}

// cameFrom returns the page of ours that has the form that was sent; "/" if it is not known, or
// was itself the answer to a form.
func (v *visit) cameFrom() string {
	u, err := url.Parse(v.Referer())
	if err != nil || u.Host != v.Host {
		return "/"
	}
	if _, pattern := v.d.mux.Handler(&http.Request{Method: http.MethodGet, Host: v.Host, URL: u}); pattern == "/" { // notFound
		return "/"
	}
	return u.RequestURI()
}

// ownPath returns to if it is a path of our own site, and "/" otherwise.
func ownPath(to string) string {
	u, err := url.Parse(to)
	if err != nil || u.Scheme != "" || u.Host != "" || u.User != nil ||
		!strings.HasPrefix(to, "/") || strings.HasPrefix(to, "//") || strings.ContainsAny(to, "\\\r\n\t") {
		return "/"
	}
	return to
}

// signin is the sign-in page.
type signin struct {
	To, Wrong string
	Unsent    bool // what the visitor sent was not done
}

func (v *visit) signinPage() error {
	p := signin{To: ownPath(v.param("to")), Unsent: v.param("unsent") != ""}
	switch {
	case v.param("signed") == "":
	case v.sessionCookie() != "":
		http.Redirect(v.w, v.Request, p.To, http.StatusSeeOther)
		return nil
	default:
		p.Wrong = "The key is valid, but your browser keeps sessions over https only. Open this page with https, or on the server itself."
	}
	return v.page(http.StatusOK, "signin", "Sign in", p)
}

// mayForget reports that a browser drops the session cookie unless a proxy uses TLS.
// Browsers treat names of the same machine like TLS.
func (v *visit) mayForget() bool { return v.TLS == nil && !v.onThisMachine() }

// address is where the server is reached. Other machines sign in over TLS only, by a proxy if
// not by this server.
func (v *visit) address() string {
	if v.TLS == nil && v.onThisMachine() {
		return "http://" + v.Host
	}
	return "https://" + v.Host
}

// onThisMachine reports whether the server was asked by a name of its own machine.
func (v *visit) onThisMachine() bool {
	host, _, err := net.SplitHostPort(v.Host)
	if err != nil {
		host = v.Host
	}
	ip := net.ParseIP(strings.Trim(host, "[]"))
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

func (v *visit) signIn() error {
	v.Body = http.MaxBytesReader(v.w, v.Body, 16<<10)
	if err := v.ParseForm(); err != nil {
		return badForm(err)
	}
	to := ownPath(v.PostFormValue("to"))
	sent := strings.TrimSpace(v.PostFormValue("key"))
	if after, ok := v.d.Guard.Wait(v.RemoteAddr, sent); !ok {
		seconds := int(math.Ceil(after.Seconds()))
		v.w.Header().Set("Retry-After", strconv.Itoa(seconds))
		wrong := fmt.Sprintf("Too many invalid keys from your address. Try again in %d s.", seconds)
		return v.page(http.StatusTooManyRequests, "signin", "Sign in", signin{To: to, Wrong: wrong})
	}
	var act *server.Act
	session, _, err := v.d.Keys.SignIn(v.Context(), sent, v.origin.Browser, func(key access.Key, id string) error {
		act = v.act(tasks.AuditSessionStarted, key, id)
		return act.Begin()
	})
	if act != nil {
		err = act.End(err)
	}
	switch {
	case errors.Is(err, access.ErrRefused):
		v.d.Guard.Failed(v.RemoteAddr, sent)
		v.refused(http.StatusUnauthorized, "key_refused")
		return v.page(http.StatusUnauthorized, "signin", "Sign in", signin{To: to, Wrong: "Invalid key: unknown, revoked or expired."})
	case err != nil:
		v.d.Log.Error().Err(err).Msg("sign-in failed")
		return refusedByRedis(err)
	}
	v.d.Guard.Succeeded(v.RemoteAddr, sent)
	v.cookie(sessionName, string(session), int(access.SessionLasts.Seconds()))
	if v.mayForget() {
		to = "/signin?" + url.Values{"signed": {"in"}, "to": {to}}.Encode() // which checks that the cookie was kept
	}
	http.Redirect(v.w, v.Request, to, http.StatusSeeOther)
	return nil
}

func (v *visit) signOut() error {
	err := v.act(tasks.AuditSessionEnded, v.key, v.origin.Session).Do(func() error {
		return v.d.Keys.SignOut(v.Context(), v.sessionCookie())
	})
	v.cookie(sessionName, "", -1)
	if err != nil {
		return err
	}
	http.Redirect(v.w, v.Request, "/signin", http.StatusSeeOther)
	return nil
}
