package apiclient

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
)

var regionID = regexp.MustCompile(`^[a-z]{1,16}(-[a-z0-9]{1,16}){1,4}$`)

// Endpoint returns the public address of Workspace in a region, for example
// https://workspace.ap-southeast-3.myhuaweicloud.com. An error means that region is
// malformed; whether Workspace is offered there is not checked. The EU partition's own
// pages name hosts under myhuaweicloud.eu: set Config.Endpoint for those.
// Source: services/workspace/v2/region of huaweicloud-sdk-go-v3.
func Endpoint(region string) (string, error) {
	if !regionID.MatchString(region) {
		return "", errBadRegion
	}
	return "https://workspace." + region + ".myhuaweicloud.com", nil
}

var errBadRegion = errors.New(`want a region such as "ap-southeast-3"`)

// regionsWithoutIAM have no address in the SDK's table of IAM addresses.
var regionsWithoutIAM = []string{"cn-north-11", "af-north-1", "eu-west-101"}

// IAMEndpoint returns the public address of IAM in a region, or the global one for
// regions without their own. A token from a regional endpoint is valid in that region
// only. An error means that region is malformed.
// Source: core/region of huaweicloud-sdk-go-v3.
func IAMEndpoint(region string) (string, error) {
	if !regionID.MatchString(region) {
		return "", errBadRegion
	}
	if slices.Contains(regionsWithoutIAM, region) {
		return "https://iam.myhuaweicloud.com", nil
	}
	return "https://iam." + region + ".myhuaweicloud.com", nil
}

// baseURL returns endpoint, or else ofRegion(region). An error names the field.
func baseURL(endpoint, region string, allowHTTP bool, ofRegion func(string) (string, error)) (*url.URL, error) {
	if endpoint == "" {
		var err error
		if endpoint, err = ofRegion(region); err != nil {
			return nil, fmt.Errorf("Region (no Endpoint given): %w", err)
		}
	}
	if err := CheckEndpoint(endpoint, allowHTTP); err != nil {
		return nil, fmt.Errorf("Endpoint: %w", err)
	}
	return url.Parse(endpoint)
}

// CheckEndpoint returns what is wrong with a base URL of the cloud. Without allowHTTP only
// https is right, except for this machine: anybody on the way could read a token and change
// what a request names. The error never quotes the endpoint, which may contain a password.
func CheckEndpoint(endpoint string, allowHTTP bool) error {
	base, err := url.Parse(endpoint)
	switch {
	case err != nil || base.Scheme != "https" && base.Scheme != "http" || base.Hostname() == "":
		return errors.New("want an address such as https://host/path")
	case base.User != nil:
		return errors.New("contains a user name or password")
	case base.RawQuery != "" || base.ForceQuery || base.Fragment != "":
		return errors.New("contains a query or a fragment")
	case base.Scheme == "http" && !allowHTTP && !loopback(base.Hostname()):
		return errPlainHTTP
	}
	return nil
}

var errPlainHTTP = errors.New("http would send the credentials unencrypted to another machine: use https, or set AllowHTTP")

func loopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.Unmap().IsLoopback()
}
