package apiclient

import (
	"fmt"
	"strings"
)

// EnvCredentials is what the environment says about whom to be and where. An
// empty field was not given. More than one way to authenticate may be complete;
// which one to take is the caller's choice.
type EnvCredentials struct {
	Region      string
	ProjectID   string
	ProjectName string
	Endpoint    string // of Workspace, for Region
	IAMEndpoint string // without /v3, as PasswordConfig wants it

	AccessKey     Secret // given together with SecretKey
	SecretKey     Secret
	SecurityToken Secret // only with AccessKey

	User     string // given together with Password and Domain
	Password Secret
	Domain   string

	Token Secret
}

// FromEnv reads the names that people have set already. lookup is usually
// os.LookupEnv; a variable that is set to nothing counts as not set. Those of
// Huawei's SDKs go before those of the Terraform provider:
//
//	Region         HUAWEICLOUD_SDK_REGION, HW_REGION_NAME
//	ProjectID      HUAWEICLOUD_SDK_PROJECT_ID, HW_PROJECT_ID
//	ProjectName    HW_PROJECT_NAME
//	Endpoint       HUAWEICLOUD_SDK_REGION_WORKSPACE_{REGION}, see EndpointFromEnv
//	IAMEndpoint    HUAWEICLOUD_SDK_IAM_ENDPOINT, HW_AUTH_URL
//	AccessKey      HUAWEICLOUD_SDK_AK, HW_ACCESS_KEY
//	SecretKey      HUAWEICLOUD_SDK_SK, HW_SECRET_KEY
//	SecurityToken  HUAWEICLOUD_SDK_SECURITY_TOKEN, HW_SECURITY_TOKEN
//	User           HW_USER_NAME
//	Password       HW_USER_PASSWORD
//	Domain         HW_DOMAIN_NAME
//	Token          HW_AUTH_TOKEN
//
// The keys are taken from one family only, never an AK of one and an SK of the
// other. A key without its partner, or a user name or password without the rest,
// is an error that names what is missing. Errors hold no values.
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
	e.Endpoint = EndpointFromEnv(lookup, e.Region)
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

// EndpointFromEnv is the address that the SDKs would use for Workspace in
// region, HUAWEICLOUD_SDK_REGION_WORKSPACE_AP_SOUTHEAST_3 for example; empty
// when it is not set. Of several addresses, which newer SDKs allow, separated
// by commas, it is the first.
func EndpointFromEnv(lookup func(string) (string, bool), region string) string {
	if region == "" {
		return ""
	}
	name := "HUAWEICLOUD_SDK_REGION_WORKSPACE_" + strings.ToUpper(strings.ReplaceAll(region, "-", "_"))
	value, _ := lookup(name)
	first, _, _ := strings.Cut(value, ",")
	return strings.TrimSpace(first)
}

// together wants all of names or none.
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

// withoutV3 takes the version off an address: Terraform's has it, the SDK's not.
func withoutV3(address string) string {
	return strings.TrimSuffix(strings.TrimRight(address, "/"), "/v3")
}
