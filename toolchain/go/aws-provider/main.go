// Package main is the AWS provider with the resources that this project declares, and no others: the Terraform provider
// behind Pulumi's bridge. Its schema and the bridge's metadata lie beside the program, written by the program itself
// (`pulumi-resource-aws schema --out DIR`) when it is built.
package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"unicode"

	"github.com/hashicorp/terraform-provider-aws/xpprovider"
	pfbridge "github.com/pulumi/pulumi-terraform-bridge/v3/pkg/pf/tfbridge"
	pftfgen "github.com/pulumi/pulumi-terraform-bridge/v3/pkg/pf/tfgen"
	"github.com/pulumi/pulumi-terraform-bridge/v3/pkg/tfbridge"
	shim "github.com/pulumi/pulumi-terraform-bridge/v3/pkg/tfshim"
	shimv2 "github.com/pulumi/pulumi-terraform-bridge/v3/pkg/tfshim/sdk-v2"
	"github.com/pulumi/pulumi/sdk/v3/go/common/tokens"
)

// The Python SDK that this provider answers; set by the linker.
var version = "0.0.0"

// Terraform's name to the module and class of the Python SDK.
var resources = map[string][2]string{
	"aws_cloudwatch_composite_alarm":                     {"cloudwatch", "CompositeAlarm"},
	"aws_cloudwatch_dashboard":                           {"cloudwatch", "Dashboard"},
	"aws_cloudwatch_log_group":                           {"cloudwatch", "LogGroup"},
	"aws_cloudwatch_metric_alarm":                        {"cloudwatch", "MetricAlarm"},
	"aws_ecr_lifecycle_policy":                           {"ecr", "LifecyclePolicy"},
	"aws_ecr_repository":                                 {"ecr", "Repository"},
	"aws_iam_role":                                       {"iam", "Role"},
	"aws_iam_role_policy":                                {"iam", "RolePolicy"},
	"aws_kms_alias":                                      {"kms", "Alias"},
	"aws_kms_key":                                        {"kms", "Key"},
	"aws_s3_bucket":                                      {"s3", "Bucket"},
	"aws_s3_bucket_lifecycle_configuration":              {"s3", "BucketLifecycleConfiguration"},
	"aws_s3_bucket_logging":                              {"s3", "BucketLogging"},
	"aws_s3_bucket_object_lock_configuration":            {"s3", "BucketObjectLockConfiguration"},
	"aws_s3_bucket_ownership_controls":                   {"s3", "BucketOwnershipControls"},
	"aws_s3_bucket_policy":                               {"s3", "BucketPolicy"},
	"aws_s3_bucket_public_access_block":                  {"s3", "BucketPublicAccessBlock"},
	"aws_s3_bucket_server_side_encryption_configuration": {"s3", "BucketServerSideEncryptionConfiguration"},
	"aws_s3_bucket_versioning":                           {"s3", "BucketVersioning"},
	"aws_s3_object":                                      {"s3", "BucketObjectv2"},
	"aws_sns_topic":                                      {"sns", "Topic"},
	"aws_sns_topic_policy":                               {"sns", "TopicPolicy"},
	"aws_sns_topic_subscription":                         {"sns", "TopicSubscription"},
}

var dataSources = map[string]string{
	"aws_caller_identity": "getCallerIdentity",
	"aws_partition":       "getPartition",
	"aws_region":          "getRegion",
}

// Fields that the Python SDK spells otherwise than the bridge would.
var fields = map[string]map[string]*tfbridge.SchemaInfo{
	"aws_cloudwatch_metric_alarm": {"alarm_name": {Name: "name"}},
	"aws_s3_object": {
		"source": {Asset: &tfbridge.AssetTranslation{Kind: tfbridge.FileAsset}},
	},
	"aws_sns_topic_subscription": {"topic_arn": {Name: "topic"}},
}

func main() {
	ctx := context.Background()
	generating := len(os.Args) > 1 && os.Args[1] == "schema"
	info, err := provider(ctx, generating)
	if err != nil {
		fail(err)
	}
	if generating {
		pftfgen.MainWithMuxer("aws", info)
		return
	}
	schema, err := beside("schema.json")
	if err != nil {
		fail(err)
	}
	pfbridge.MainWithMuxer(ctx, "aws", info, schema)
}

func provider(ctx context.Context, generating bool) (tfbridge.ProviderInfo, error) {
	framework, sdk, err := xpprovider.GetProvider(ctx)
	if err != nil {
		return tfbridge.ProviderInfo{}, err
	}
	metadata := []byte("{}")
	if !generating {
		if metadata, err = beside("bridge-metadata.json"); err != nil {
			return tfbridge.ProviderInfo{}, err
		}
	}
	muxed := pfbridge.MuxShimWithPF(ctx, shimv2.NewProvider(sdk), framework)
	info := tfbridge.ProviderInfo{
		P:            muxed,
		Name:         "aws",
		Version:      version,
		MetadataInfo: tfbridge.NewProviderMetadata(metadata),
		Resources:    map[string]*tfbridge.ResourceInfo{},
		DataSources:  map[string]*tfbridge.DataSourceInfo{},
	}
	for name, place := range resources {
		info.Resources[name] = &tfbridge.ResourceInfo{
			Tok:    tokens.Type(token(place[0], place[1])),
			Fields: fields[name],
		}
	}
	for name, function := range dataSources {
		info.DataSources[name] = &tfbridge.DataSourceInfo{
			Tok: tokens.ModuleMember(fmt.Sprintf("aws:index/%s:%s", function, function)),
		}
	}
	muxed.ResourcesMap().Range(func(name string, _ shim.Resource) bool {
		if info.Resources[name] == nil {
			info.IgnoreMappings = append(info.IgnoreMappings, name)
		}
		return true
	})
	muxed.DataSourcesMap().Range(func(name string, _ shim.Resource) bool {
		if info.DataSources[name] == nil {
			info.IgnoreMappings = append(info.IgnoreMappings, name)
		}
		return true
	})
	return info, nil
}

// Such as `aws:s3/bucketPolicy:BucketPolicy`.
func token(module, class string) string {
	first := []rune(class)
	first[0] = unicode.ToLower(first[0])
	return strings.Join([]string{"aws", module + "/" + string(first), class}, ":")
}

func beside(name string) ([]byte, error) {
	program, err := os.Executable()
	if err != nil {
		return nil, err
	}
	if program, err = filepath.EvalSymlinks(program); err != nil {
		return nil, err
	}
	return os.ReadFile(filepath.Join(filepath.Dir(program), name))
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "error:", err)
	os.Exit(1)
}
