package apiclient_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/detachd/detachd/apiclient"
)

type environment map[string]string

func (e environment) lookup(name string) (string, bool) {
	value, ok := e[name]
	return value, ok
}

func TestFromEnv(t *testing.T) {
	t.Parallel()
	terraform := environment{
		"HW_ACCESS_KEY": "hw-ak", "HW_SECRET_KEY": "hw-sk", "HW_SECURITY_TOKEN": "hw-sts", "HW_PROJECT_ID": "hw-project",
		"HW_PROJECT_NAME": "hw-name", "HW_REGION_NAME": "ap-southeast-3", "HW_USER_NAME": "user", "HW_USER_PASSWORD": " pass ",
		"HW_DOMAIN_NAME": "domain", "HW_AUTH_TOKEN": "token\n", "HW_AUTH_URL": "https://iam.example/v3/",
	}
	want := apiclient.EnvCredentials{
		Region: "ap-southeast-3", ProjectID: "hw-project", ProjectName: "hw-name", IAMEndpoint: "https://iam.example",
		AccessKey: "hw-ak", SecretKey: "hw-sk", SecurityToken: "hw-sts",
		User: "user", Password: " pass ", Domain: "domain", Token: "token",
	}
	got, err := apiclient.FromEnv(terraform.lookup)
	require.NoError(t, err)
	require.Equal(t, want, got)

	both := environment{
		"HUAWEICLOUD_SDK_AK": "sdk-ak", "HUAWEICLOUD_SDK_SK": "sdk-sk", "HUAWEICLOUD_SDK_PROJECT_ID": "sdk-project",
		"HUAWEICLOUD_SDK_REGION": "cn-north-4", "HUAWEICLOUD_SDK_IAM_ENDPOINT": "https://iam.sdk",
		"HUAWEICLOUD_SDK_REGION_WORKSPACE_CN_NORTH_4": "https://one.example, https://two.example",
	}
	for name, value := range terraform {
		both[name] = value
	}
	got, err = apiclient.FromEnv(both.lookup)
	require.NoError(t, err)
	want.AccessKey, want.SecretKey, want.SecurityToken = "sdk-ak", "sdk-sk", "" // never the token of the other family
	want.Region, want.ProjectID = "cn-north-4", "sdk-project"
	want.Endpoint, want.IAMEndpoint = "https://one.example", "https://iam.sdk"
	require.Equal(t, want, got)

	got, err = apiclient.FromEnv(environment{"HUAWEICLOUD_SDK_AK": " ", "HW_DOMAIN_NAME": "d"}.lookup)
	require.NoError(t, err)
	require.Equal(t, apiclient.EnvCredentials{Domain: "d"}, got)
}

func TestFromEnvNamesWhatIsMissing(t *testing.T) {
	t.Parallel()
	for missing, env := range map[string]environment{
		"HUAWEICLOUD_SDK_SK: missing":           {"HUAWEICLOUD_SDK_AK": "known-value", "HW_SECRET_KEY": "known-value"},
		"HUAWEICLOUD_SDK_AK: missing":           {"HUAWEICLOUD_SDK_SK": "known-value"},
		"HW_SECRET_KEY: missing":                {"HW_ACCESS_KEY": "known-value"},
		"HW_ACCESS_KEY: missing":                {"HW_SECRET_KEY": "known-value"},
		"HW_USER_PASSWORD: missing":             {"HW_USER_NAME": "known-value", "HW_DOMAIN_NAME": "known-value"},
		"HW_USER_NAME, HW_DOMAIN_NAME: missing": {"HW_USER_PASSWORD": "known-value"},
	} {
		got, err := apiclient.FromEnv(env.lookup)
		require.ErrorContains(t, err, missing)
		require.NotContains(t, err.Error(), "known-value")
		require.Zero(t, got)
	}
}

func TestEndpoints(t *testing.T) {
	t.Parallel()
	for region, want := range map[string][2]string{
		"ap-southeast-3": {"https://workspace.ap-southeast-3.myhuaweicloud.com", "https://iam.ap-southeast-3.myhuaweicloud.com"},
		"cn-north-11":    {"https://workspace.cn-north-11.myhuaweicloud.com", "https://iam.myhuaweicloud.com"},
		"eu-west-101":    {"https://workspace.eu-west-101.myhuaweicloud.com", "https://iam.myhuaweicloud.com"},
	} {
		workspace, err := apiclient.Endpoint(region)
		require.NoError(t, err)
		iam, err := apiclient.IAMEndpoint(region)
		require.NoError(t, err)
		require.Equal(t, want, [2]string{workspace, iam})
	}
	for _, region := range []string{"", "x", "CN-NORTH-4", "cn-north-4.evil", "cn-north-4/", "cn-north-4@x", "cn--4", "-a", "cn-north-4\n"} {
		_, err := apiclient.Endpoint(region)
		require.Error(t, err, region)
		_, err = apiclient.IAMEndpoint(region)
		require.Error(t, err, region)
	}
}
