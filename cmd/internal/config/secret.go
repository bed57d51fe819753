package config

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"

	"github.com/detachd/detachd/apiclient"
)

// SecretRef says where a secret is: {env: NAME} or {file: PATH}.
type SecretRef struct {
	Env   string           `yaml:"env"`
	File  string           `yaml:"file"`
	Value apiclient.Secret `yaml:"-"` // given by the program itself
}

func (s SecretRef) given() bool { return s != SecretRef{} }

// Resolve reads the secret. An optional one that is not given is empty.
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

// Authenticator reads the secrets of a project's credential and makes what
// authenticates its calls. The error names the key. Tokens are asked for through
// transport; nil: one of their own.
func (p Project) Authenticator(c Credential, lookup func(string) (string, bool), userAgent string, transport http.RoundTripper) (apiclient.Authenticator, error) {
	var errs []error
	read := func(key string, ref SecretRef) apiclient.Secret {
		v, err := ref.Resolve(lookup)
		if err != nil {
			errs = append(errs, fmt.Errorf("project %s: credentials %s: %s: %w", p.Alias, c.Name, key, err))
		}
		return v
	}
	switch c.Kind {
	case "token":
		token := read("token", c.Token)
		if len(errs) > 0 {
			return nil, errors.Join(errs...)
		}
		return apiclient.StaticToken(token), nil
	case "password":
		password := read("password", c.Password)
		if len(errs) > 0 {
			return nil, errors.Join(errs...)
		}
		return apiclient.NewPasswordToken(apiclient.PasswordConfig{
			Region: p.Region, Endpoint: p.IAMEndpoint, User: c.User, Password: password, Domain: c.Domain,
			ProjectID: p.ProjectID, UserAgent: userAgent, Transport: transport,
		})
	}
	ak, sk, token := read("access_key", c.AccessKey), read("secret_key", c.SecretKey), read("security_token", c.SecurityToken)
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	return apiclient.NewAKSK(apiclient.AKSKConfig{AccessKey: ak, SecretKey: sk, SecurityToken: token, ProjectID: p.ProjectID})
}
