package apiclient

import (
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"slices"
)

var regionID = regexp.MustCompile(`^[a-z]{1,16}(-[a-z0-9]{1,16}){1,4}$`)

// Endpoint is the public address of Workspace in a region, for example
// https://workspace.ap-southeast-3.myhuaweicloud.com. It checks the syntax of
// region, not whether Workspace is offered there. The EU partition's own pages
// name hosts under myhuaweicloud.eu: set Config.Endpoint for those.
// Source: services/workspace/v2/region of huaweicloud-sdk-go-v3.
func Endpoint(region string) (string, error) {
	if !regionID.MatchString(region) {
		return "", errBadRegion
	}
	return "https://workspace." + region + ".myhuaweicloud.com", nil
}

var errBadRegion = errors.New(`want a region such as "ap-southeast-3"`)

// The SDK's table of IAM addresses has none for these.
var regionsWithoutIAM = []string{"cn-north-11", "af-north-1", "eu-west-101"}

// IAMEndpoint is the public address of IAM in a region, and the global one for
// the regions without their own. A token of a regional endpoint is good in that
// region only. Source: core/region of huaweicloud-sdk-go-v3.
func IAMEndpoint(region string) (string, error) {
	if !regionID.MatchString(region) {
		return "", errBadRegion
	}
	if slices.Contains(regionsWithoutIAM, region) {
		return "https://iam.myhuaweicloud.com", nil
	}
	return "https://iam." + region + ".myhuaweicloud.com", nil
}

// baseURL prefers a given endpoint to that of the region. An error names the
// field, and never quotes the endpoint: it may hold a password.
func baseURL(endpoint, region string, ofRegion func(string) (string, error)) (*url.URL, error) {
	if endpoint == "" {
		var err error
		if endpoint, err = ofRegion(region); err != nil {
			return nil, fmt.Errorf("Region (no Endpoint given): %w", err)
		}
	}
	base, err := url.Parse(endpoint)
	switch {
	case err != nil || base.Scheme != "https" && base.Scheme != "http" || base.Hostname() == "":
		return nil, errors.New("Endpoint: want an address such as https://host/path")
	case base.User != nil:
		return nil, errors.New("Endpoint: holds a user name or password")
	case base.RawQuery != "" || base.ForceQuery || base.Fragment != "":
		return nil, errors.New("Endpoint: holds a query or a fragment")
	}
	return base, nil
}
