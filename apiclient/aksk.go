package apiclient

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// AKSKConfig configures NewAKSK.
type AKSKConfig struct {
	AccessKey     Secret           // required
	SecretKey     Secret           // required; never sent
	SecurityToken Secret           // for temporary credentials; empty for permanent ones
	ProjectID     string           // sent as X-Project-Id; empty for global services
	Now           func() time.Time // for tests; defaults to time.Now. The gateway refuses a clock that is far off
}

// AKSK is an Authenticator that signs requests with an access key (SDK-HMAC-SHA256).
// It is safe for concurrent use.
// Source: core/auth/signer of huaweicloud-sdk-go-v3 0.1.207.
type AKSK struct{ cfg *AKSKConfig } // see Secret for the pointer

// NewAKSK returns an AKSK. An error names the invalid field of cfg.
func NewAKSK(cfg AKSKConfig) (*AKSK, error) {
	switch {
	case !cfg.AccessKey.inHeader():
		return nil, errors.New("apiclient: AccessKey: empty or not printable ASCII")
	case cfg.SecretKey == "":
		return nil, errors.New("apiclient: SecretKey: missing")
	case cfg.SecurityToken != "" && !cfg.SecurityToken.inHeader():
		return nil, errors.New("apiclient: SecurityToken: not printable ASCII")
	case !validHeader(cfg.ProjectID):
		return nil, errors.New("apiclient: ProjectID: not printable ASCII")
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &AKSK{&cfg}, nil
}

// Format keeps the keys out of %+v.
func (a *AKSK) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte("AKSK")) }

const (
	algorithm     = "SDK-HMAC-SHA256"
	headerDate    = "X-Sdk-Date"
	headerProject = "X-Project-Id"
)

// Authenticate implements Authenticator. It adds X-Sdk-Date, X-Project-Id and
// X-Security-Token, and signs all headers except those that proxies change. A key cannot
// be renewed after a 401, so refresh is nil.
func (a *AKSK) Authenticate(req *http.Request, body []byte) (func() bool, error) {
	date := a.cfg.Now().UTC().Format("20060102T150405Z")
	req.Header.Del(headerAuthorization)
	req.Header.Set(headerDate, date)
	if a.cfg.ProjectID != "" {
		req.Header.Set(headerProject, a.cfg.ProjectID)
	}
	if a.cfg.SecurityToken != "" {
		req.Header.Set(headerSecurityToken, a.cfg.SecurityToken.Reveal())
	}
	names := signedHeaders(req.Header)
	canonical := canonicalRequest(req.Method, req.URL, req.Header, names, body)
	mac := hmac.New(sha256.New, []byte(a.cfg.SecretKey.Reveal()))
	mac.Write([]byte(algorithm + "\n" + date + "\n" + hexSHA256([]byte(canonical))))
	req.Header.Set(headerAuthorization, fmt.Sprintf("%s Access=%s, SignedHeaders=%s, Signature=%s",
		algorithm, a.cfg.AccessKey.Reveal(), strings.Join(names, ";"), hex.EncodeToString(mac.Sum(nil))))
	return nil, nil
}

// signedHeaders returns the lower-case names that the SDK signs, sorted: all except
// Content-Type and names with an underscore, which proxies drop. The SDK does not sign
// Host, which http.Header does not contain. For trace headers see WithTrace.
func signedHeaders(h http.Header) []string {
	var names []string
	for name := range h {
		name = strings.ToLower(name)
		if name != "traceparent" && name != "tracestate" && !strings.HasPrefix(name, "content-type") && !strings.Contains(name, "_") {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

func canonicalRequest(method string, target *url.URL, h http.Header, signed []string, body []byte) string {
	var headers strings.Builder
	for _, name := range signed {
		headers.WriteString(name + ":" + strings.TrimSpace(h.Get(name)) + "\n")
	}
	return strings.Join([]string{
		method,
		canonicalPath(target.Path),
		canonicalQuery(target.Query()),
		headers.String(),
		strings.Join(signed, ";"),
		hexSHA256(body),
	}, "\n")
}

// canonicalPath ends with a slash even if the path that is sent does not.
func canonicalPath(path string) string {
	segments := strings.Split(path, "/")
	for i, s := range segments {
		segments[i] = escape(s)
	}
	path = strings.Join(segments, "/")
	if !strings.HasSuffix(path, "/") {
		path += "/"
	}
	return path
}

// canonicalQuery sorts the keys and the values of each key. It writes an empty value as
// "key=".
func canonicalQuery(query url.Values) string {
	var b strings.Builder
	for _, key := range slices.Sorted(maps.Keys(query)) {
		for _, value := range slices.Sorted(slices.Values(query[key])) {
			if b.Len() > 0 {
				b.WriteByte('&')
			}
			b.WriteString(escape(key))
			b.WriteByte('=')
			b.WriteString(escape(value))
		}
	}
	return b.String()
}

// escape keeps A-Z a-z 0-9 - _ . ~ and writes every other byte as %XX. No function of
// net/url does exactly that.
func escape(s string) string {
	kept := 0
	for kept < len(s) && unreserved(s[kept]) {
		kept++
	}
	if kept == len(s) {
		return s // as ids are
	}
	const upperHex = "0123456789ABCDEF"
	var b strings.Builder
	b.WriteString(s[:kept])
	for i := kept; i < len(s); i++ {
		if c := s[i]; unreserved(c) {
			b.WriteByte(c)
		} else {
			b.Write([]byte{'%', upperHex[c>>4], upperHex[c&15]})
		}
	}
	return b.String()
}

func unreserved(c byte) bool {
	return 'a' <= c && c <= 'z' || '0' <= c && c <= '9' || 'A' <= c && c <= 'Z' || c == '-' || c == '_' || c == '.' || c == '~'
}

func hexSHA256(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}
