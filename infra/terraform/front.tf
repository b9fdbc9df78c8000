# What agents reach: the function's URL, API Gateway before functions with isolation `tenant`, CloudFront.

resource "aws_lambda_function_url" "this" {
  count              = local.shared
  function_name      = aws_lambda_function.this.function_name
  authorization_type = var.url_auth
  invoke_mode        = "RESPONSE_STREAM"
}

resource "aws_lambda_permission" "url" {
  count                  = var.url_auth == "NONE" ? local.shared : 0
  statement_id           = "Url"
  function_name          = aws_lambda_function.this.function_name
  action                 = "lambda:InvokeFunctionUrl"
  principal              = "*"
  function_url_auth_type = "NONE"
}

# URLs made since October 2025 need this as well.
resource "aws_lambda_permission" "url_invoke" {
  count                    = var.url_auth == "NONE" ? local.shared : 0
  statement_id             = "UrlInvoke"
  function_name            = aws_lambda_function.this.function_name
  action                   = "lambda:InvokeFunction"
  principal                = "*"
  invoked_via_function_url = true
}

# --- Isolation tenant: API Gateway knows who asks before the function does, and says so ---

locals {
  streaming = "arn:${local.partition}:apigateway:${local.region}:lambda:path/2021-11-15/functions/${aws_lambda_function.this.arn}/response-streaming-invocations"
}

resource "aws_api_gateway_rest_api" "this" {
  count          = local.tenants
  name           = var.name
  api_key_source = "HEADER"
  endpoint_configuration {
    types = ["REGIONAL"]
  }
}

resource "aws_api_gateway_resource" "any" {
  count       = local.tenants
  rest_api_id = aws_api_gateway_rest_api.this[0].id
  parent_id   = aws_api_gateway_rest_api.this[0].root_resource_id
  path_part   = "{proxy+}"
}

resource "aws_api_gateway_method" "any" {
  count            = local.tenants
  rest_api_id      = aws_api_gateway_rest_api.this[0].id
  resource_id      = aws_api_gateway_resource.any[0].id
  http_method      = "ANY"
  authorization    = "NONE"
  api_key_required = true
}

resource "aws_api_gateway_integration" "any" {
  count                   = local.tenants
  rest_api_id             = aws_api_gateway_rest_api.this[0].id
  resource_id             = aws_api_gateway_resource.any[0].id
  http_method             = aws_api_gateway_method.any[0].http_method
  type                    = "AWS_PROXY"
  integration_http_method = "POST"
  uri                     = local.streaming
  response_transfer_mode  = "STREAM"
  timeout_milliseconds    = 900000
  request_parameters = {
    "integration.request.header.X-Amz-Tenant-Id" = "context.identity.apiKeyId"
  }
}

# The admin API asks for the admin key itself, and its clients have no other.
resource "aws_api_gateway_resource" "admin" {
  count       = local.tenants
  rest_api_id = aws_api_gateway_rest_api.this[0].id
  parent_id   = aws_api_gateway_rest_api.this[0].root_resource_id
  path_part   = "admin"
}

resource "aws_api_gateway_resource" "admin_any" {
  count       = local.tenants
  rest_api_id = aws_api_gateway_rest_api.this[0].id
  parent_id   = aws_api_gateway_resource.admin[0].id
  path_part   = "{proxy+}"
}

resource "aws_api_gateway_method" "admin" {
  count            = local.tenants
  rest_api_id      = aws_api_gateway_rest_api.this[0].id
  resource_id      = aws_api_gateway_resource.admin_any[0].id
  http_method      = "ANY"
  authorization    = "NONE"
  api_key_required = false
}

resource "aws_api_gateway_integration" "admin" {
  count                   = local.tenants
  rest_api_id             = aws_api_gateway_rest_api.this[0].id
  resource_id             = aws_api_gateway_resource.admin_any[0].id
  http_method             = aws_api_gateway_method.admin[0].http_method
  type                    = "AWS_PROXY"
  integration_http_method = "POST"
  uri                     = local.streaming
  response_transfer_mode  = "STREAM"
  timeout_milliseconds    = 900000
  request_parameters = {
    "integration.request.header.X-Amz-Tenant-Id" = "'operator'"
  }
}

resource "aws_api_gateway_deployment" "this" {
  count       = local.tenants
  rest_api_id = aws_api_gateway_rest_api.this[0].id
  triggers = {
    integrations = sha256(jsonencode([aws_api_gateway_integration.any[0], aws_api_gateway_integration.admin[0]]))
  }
  lifecycle {
    create_before_destroy = true
  }
}

resource "aws_api_gateway_stage" "this" {
  count         = local.tenants
  rest_api_id   = aws_api_gateway_rest_api.this[0].id
  deployment_id = aws_api_gateway_deployment.this[0].id
  stage_name    = "gateway"
}

resource "aws_api_gateway_usage_plan" "this" {
  count = local.tenants
  name  = var.name
  api_stages {
    api_id = aws_api_gateway_rest_api.this[0].id
    stage  = aws_api_gateway_stage.this[0].stage_name
  }
}

resource "aws_lambda_permission" "api" {
  count         = local.tenants
  statement_id  = "Api"
  function_name = aws_lambda_function.this.function_name
  action        = "lambda:InvokeFunction"
  principal     = "apigateway.amazonaws.com"
  source_arn    = "${aws_api_gateway_rest_api.this[0].execution_arn}/*"
}

# --- CloudFront ---

resource "aws_cloudfront_distribution" "this" {
  count           = var.cloudfront ? 1 : 0
  enabled         = true
  comment         = var.name
  http_version    = "http2and3"
  is_ipv6_enabled = true
  aliases         = var.domain_name == null ? [] : [var.domain_name]

  origin {
    origin_id   = "function"
    domain_name = split("/", aws_lambda_function_url.this[0].function_url)[2]
    custom_origin_config {
      http_port              = 80
      https_port             = 443
      origin_protocol_policy = "https-only"
      origin_ssl_protocols   = ["TLSv1.2"]
      origin_read_timeout    = 60
    }
  }

  default_cache_behavior {
    target_origin_id       = "function"
    viewer_protocol_policy = "https-only"
    allowed_methods        = ["GET", "HEAD", "OPTIONS", "PUT", "PATCH", "POST", "DELETE"]
    cached_methods         = ["GET", "HEAD"]
    compress               = false
    # AWS's own policies: CachingDisabled, and AllViewerExceptHostHeader, as the function's URL is asked for by its name.
    cache_policy_id          = "4135ea2d-6df8-44a3-9df3-4b5a84be39ad"
    origin_request_policy_id = "b689b0a8-53d0-40ab-baf2-68738e2966ac"
  }

  restrictions {
    geo_restriction {
      restriction_type = "none"
    }
  }

  viewer_certificate {
    cloudfront_default_certificate = var.domain_name == null
    acm_certificate_arn            = var.certificate_arn
    ssl_support_method             = var.domain_name == null ? null : "sni-only"
    minimum_protocol_version       = var.domain_name == null ? null : "TLSv1.2_2021"
  }
}

resource "aws_route53_record" "this" {
  for_each = toset(var.domain_name == null || var.hosted_zone_id == null ? [] : ["A", "AAAA"])
  zone_id  = var.hosted_zone_id
  name     = var.domain_name
  type     = each.key
  alias {
    name                   = aws_cloudfront_distribution.this[0].domain_name
    zone_id                = aws_cloudfront_distribution.this[0].hosted_zone_id
    evaluate_target_health = false
  }
}
