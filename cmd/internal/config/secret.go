package config

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"

	"github.com/detachd/detachd/apiclient"
)

// SecretRef says where a secret is: {env: NAME} or {file: PATH}, not both.
type SecretRef struct {
	Env   string           `yaml:"env"`  // environment variable. Defaults to "", none.
	File  string           `yaml:"file"` // path; a final newline is removed. Defaults to "", none.
	Value apiclient.Secret `yaml:"-"`    // set by the program; takes precedence
}

func (s SecretRef) given() bool { return s != SecretRef{} }

// Resolve reads the secret, or returns "" if the reference is empty. lookup is usually
// os.LookupEnv. It is an error if the variable or the file is missing or empty.
func (s SecretRef) Resolve(lookup func(string) (string, bool)) (apiclient.Secret, error) {
	switch {
	case s.Value != "" || !s.given():
		return s.Value, nil
	case s.Env != "":
		if v, _ := lookup(s.Env); v != "" {
			return apiclient.Secret(v), nil
		}
		return "", fmt.Errorf("the environment variable %s is not set or empty", s.Env)
	}
	b, err := os.ReadFile(s.File)
	if err != nil {
		return "", err
	}
	v := strings.TrimSuffix(strings.TrimSuffix(string(b), "\n"), "\r")
	if v == "" {
		return "", fmt.Errorf("the file %s is empty", s.File)
	}
	return apiclient.Secret(v), nil
}

// Authenticator reads the secrets of c and returns the authenticator for calls of project p.
// Requests for tokens use transport, which defaults to one of their own. An error names the
// project, the credential and the key.
func (p Project) Authenticator(
	c Credential, lookup func(string) (string, bool), userAgent string, transport http.RoundTripper,
) (apiclient.Authenticator, error) {
	var errs []error
	read := func(key string, ref SecretRef) apiclient.Secret {
		v, err := ref.Resolve(lookup)
		if err != nil {
			errs = append(errs, fmt.Errorf("project %s: credentials %s: %s: %w", p.Alias, c.Name, key, err))
		}
		return v
	}
	token, password := read("token", c.Token), read("password", c.Password)
	ak, sk, security := read("access_key", c.AccessKey), read("secret_key", c.SecretKey), read("security_token", c.SecurityToken)
	switch {
	case len(errs) > 0:
		return nil, errors.Join(errs...)
	case c.Kind == "token":
		return apiclient.StaticToken(token), nil
	case c.Kind == "password":
		return apiclient.NewPasswordToken(apiclient.PasswordConfig{
			Region: p.Region, Endpoint: p.IAMEndpoint, AllowHTTP: p.AllowHTTP, User: c.User, Password: password, Domain: c.Domain,
			ProjectID: p.ProjectID, UserAgent: userAgent, Transport: transport,
		})
	}
	return apiclient.NewAKSK(apiclient.AKSKConfig{AccessKey: ak, SecretKey: sk, SecurityToken: security, ProjectID: p.ProjectID})
}
