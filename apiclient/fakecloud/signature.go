package fakecloud

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

const (
	algorithm = "SDK-HMAC-SHA256"
	dateForm  = "20060102T150405Z"
	maxSkew   = 15 * time.Minute
)

// checkSignature verifies the request's signature with the key that it names.
func (x *exchange) checkSignature() error {
	auth, err := parseAuthorization(x.r.Header.Get("Authorization"))
	if err != nil {
		return err
	}
	secret, known := x.cfg.AccessKeys[auth.key]
	if !known {
		return fmt.Errorf("get secretKey failed,ak:%s,err:ak not exist", auth.key)
	}
	if want := x.cfg.AccessKeyTokens[auth.key]; want != "" && x.r.Header.Get("X-Security-Token") != want {
		return errors.New("security token is wrong or missing")
	}
	date := x.r.Header.Get("X-Sdk-Date")
	at, err := time.Parse(dateForm, date)
	if err != nil {
		return errors.New("X-Sdk-Date format invalid")
	}
	if skew := x.cfg.Clock().Sub(at).Abs(); skew > maxSkew {
		return fmt.Errorf("signature expired, the clocks differ by %s", skew)
	}
	want := sign(secret, date, canonical(x.r, x.body, auth.headers))
	if !hmac.Equal([]byte(want), []byte(auth.signature)) {
		return errors.New("verify aksk signature fail, ak:" + auth.key)
	}
	return nil
}

// authorization is the parsed Authorization header.
type authorization struct {
	key       string
	headers   []string // lower case, sorted
	signature string
}

// parseAuthorization reads "SDK-HMAC-SHA256 Access=AK, SignedHeaders=a;b, Signature=hex".
func parseAuthorization(value string) (authorization, error) {
	var auth authorization
	rest, isOurs := strings.CutPrefix(value, algorithm+" ")
	if !isOurs {
		return auth, errors.New("authorization algorithm is not " + algorithm)
	}
	for part := range strings.SplitSeq(rest, ",") {
		name, v, _ := strings.Cut(strings.TrimSpace(part), "=")
		switch name {
		case "Access":
			auth.key = v
		case "SignedHeaders":
			auth.headers = strings.Split(v, ";")
		case "Signature":
			auth.signature = v
		}
	}
	switch {
	case auth.key == "" || auth.signature == "":
		return auth, errors.New("authorization is incomplete")
	case !slices.IsSorted(auth.headers):
		return auth, errors.New("SignedHeaders must be sorted")
	}
	return auth, nil
}

// sign returns the signature. The secret key is used directly, without key derivation.
func sign(secret, date, canonicalRequest string) string {
	mac := hmac.New(sha256.New, []byte(secret))
	fmt.Fprintf(mac, "%s\n%s\n%s", algorithm, date, hexSHA256([]byte(canonicalRequest)))
	return hex.EncodeToString(mac.Sum(nil))
}

// canonical returns the form of a request that is signed.
func canonical(r *http.Request, body []byte, signed []string) string {
	var b strings.Builder
	b.WriteString(r.Method + "\n" + canonicalPath(r.URL.Path) + "\n" + canonicalQuery(r.URL.Query()) + "\n")
	for _, name := range signed {
		value := strings.Join(r.Header.Values(name), ",")
		if name == "host" { // net/http keeps it out of the headers
			value = r.Host
		}
		b.WriteString(name + ":" + strings.TrimSpace(value) + "\n")
	}
	hash := r.Header.Get("X-Sdk-Content-Sha256")
	if hash != "UNSIGNED-PAYLOAD" {
		hash = hexSHA256(body)
	}
	b.WriteString("\n" + strings.Join(signed, ";") + "\n" + hash)
	return b.String()
}

// canonicalPath escapes the segments and ends with a slash, even if the requested path does
// not.
func canonicalPath(path string) string {
	segments := strings.Split(path, "/")
	for i, s := range segments {
		segments[i] = escape(s)
	}
	escaped := strings.Join(segments, "/")
	if !strings.HasSuffix(escaped, "/") {
		escaped += "/"
	}
	return escaped
}

// canonicalQuery sorts keys and the values of a key. An empty value has an "=", whether it
// was sent with one or not.
func canonicalQuery(query url.Values) string {
	var pairs []string
	for _, key := range slices.Sorted(maps.Keys(query)) {
		for _, v := range slices.Sorted(slices.Values(query[key])) {
			pairs = append(pairs, escape(key)+"="+escape(v))
		}
	}
	return strings.Join(pairs, "&")
}

// escape keeps letters, digits and -_.~ of ASCII.
func escape(s string) string {
	const digits = "0123456789ABCDEF"
	var b strings.Builder
	for i := range len(s) {
		c := s[i]
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', strings.IndexByte("-_.~", c) >= 0:
			b.WriteByte(c)
		default:
			b.Write([]byte{'%', digits[c>>4], digits[c&15]})
		}
	}
	return b.String()
}

func hexSHA256(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}
