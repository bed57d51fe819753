package apiclient

import (
	"fmt"
	"strings"
)

// EnvCredentials are credentials and addresses from the environment. Fields that are not
// set there are empty. More than one kind of credentials may be complete; the caller
// chooses.
type EnvCredentials struct {
	Region      string
	ProjectID   string
	ProjectName string
	Endpoint    string // of Workspace, for Region
	IAMEndpoint string // without /v3, as in PasswordConfig.Endpoint

	AccessKey     Secret // given together with SecretKey
	SecretKey     Secret
	SecurityToken Secret // only with AccessKey

	User     string // given together with Password and Domain
	Password Secret
	Domain   string

	Token Secret
}

// FromEnv reads the conventional environment variables. lookup is usually os.LookupEnv; an
// empty variable counts as not set. Variables of Huawei's SDKs take precedence over those
// of the Terraform provider:
//
//	Region         HUAWEICLOUD_SDK_REGION, HW_REGION_NAME
//	ProjectID      HUAWEICLOUD_SDK_PROJECT_ID, HW_PROJECT_ID
//	ProjectName    HW_PROJECT_NAME
//	Endpoint       HUAWEICLOUD_SDK_REGION_WORKSPACE_{REGION}, see endpointFromEnv
//	IAMEndpoint    HUAWEICLOUD_SDK_IAM_ENDPOINT, HW_AUTH_URL
//	AccessKey      HUAWEICLOUD_SDK_AK, HW_ACCESS_KEY
//	SecretKey      HUAWEICLOUD_SDK_SK, HW_SECRET_KEY
//	SecurityToken  HUAWEICLOUD_SDK_SECURITY_TOKEN, HW_SECURITY_TOKEN
//	User           HW_USER_NAME
//	Password       HW_USER_PASSWORD
//	Domain         HW_DOMAIN_NAME
//	Token          HW_AUTH_TOKEN
//
// The access key and the secret key always come from the same family. A key without its
// partner, or an incomplete set of user, password and domain, is an error that names the
// missing variables. Errors contain no values.
func FromEnv(lookup func(string) (string, bool)) (EnvCredentials, error) {
	get := func(names ...string) string {
		for _, name := range names {
			if value, _ := lookup(name); strings.TrimSpace(value) != "" {
				return strings.TrimSpace(value)
			}
		}
		return ""
	}
	e := EnvCredentials{
		Region:      get("HUAWEICLOUD_SDK_REGION", "HW_REGION_NAME"),
		ProjectID:   get("HUAWEICLOUD_SDK_PROJECT_ID", "HW_PROJECT_ID"),
		ProjectName: get("HW_PROJECT_NAME"),
		IAMEndpoint: withoutV3(get("HUAWEICLOUD_SDK_IAM_ENDPOINT", "HW_AUTH_URL")),
		User:        get("HW_USER_NAME"),
		Domain:      get("HW_DOMAIN_NAME"),
		Token:       Secret(get("HW_AUTH_TOKEN")),
	}
	password, _ := lookup("HW_USER_PASSWORD") // spaces around it may be part of it
	e.Password = Secret(password)
	e.Endpoint = endpointFromEnv(lookup, e.Region)
	ak, sk, token := "HUAWEICLOUD_SDK_AK", "HUAWEICLOUD_SDK_SK", "HUAWEICLOUD_SDK_SECURITY_TOKEN"
	if get(ak, sk) == "" {
		ak, sk, token = "HW_ACCESS_KEY", "HW_SECRET_KEY", "HW_SECURITY_TOKEN"
	}
	e.AccessKey, e.SecretKey = Secret(get(ak)), Secret(get(sk))
	if e.AccessKey != "" {
		e.SecurityToken = Secret(get(token))
	}
	if err := together(get, ak, sk); err != nil {
		return EnvCredentials{}, err
	}
	if e.User != "" || e.Password != "" {
		if err := together(get, "HW_USER_NAME", "HW_USER_PASSWORD", "HW_DOMAIN_NAME"); err != nil {
			return EnvCredentials{}, err
		}
	}
	return e, nil
}

// endpointFromEnv returns the address of Workspace in region that the SDKs would use, for
// example that in HUAWEICLOUD_SDK_REGION_WORKSPACE_AP_SOUTHEAST_3, or "" if not set. Newer
// SDKs allow several addresses separated by commas; it returns the first.
func endpointFromEnv(lookup func(string) (string, bool), region string) string {
	if region == "" {
		return ""
	}
	name := "HUAWEICLOUD_SDK_REGION_WORKSPACE_" + strings.ToUpper(strings.ReplaceAll(region, "-", "_"))
	value, _ := lookup(name)
	first, _, _ := strings.Cut(value, ",")
	return strings.TrimSpace(first)
}

// together returns an error unless all of names are set, or all are unset.
func together(get func(...string) string, names ...string) error {
	var missing []string
	for _, name := range names {
		if get(name) == "" {
			missing = append(missing, name)
		}
	}
	if len(missing) == 0 || len(missing) == len(names) {
		return nil
	}
	return fmt.Errorf("environment: %s: missing; %s belong together",
		strings.Join(missing, ", "), strings.Join(names, ", "))
}

// withoutV3 removes the version from an address: Terraform's has it, the SDK's does not.
func withoutV3(address string) string {
	return strings.TrimSuffix(strings.TrimRight(address, "/"), "/v3")
}
