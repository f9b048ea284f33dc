//! What is said once the gateway serves: where, what, and a line to try it with.

use plimsoll_gateway::House;
use plimsoll_gateway::config::Config;

/// Prints the greeting to stderr.
pub(crate) fn print(config: &Config, house: &House) {
    let snapshot = house.shared.snapshot();
    let backends = &snapshot.fleet.backends;
    let scheme = if config.tls.certificate.is_empty() { "http" } else { "https" };
    let (listen, admin) = (&config.listen, &config.admin);
    let models = snapshot.fleet.known_models();
    tracing::info!(listen, admin, models, backends = backends.len(), "serving");
    eprintln!("\n  callers    {scheme}://{listen}   (OpenAI's API under /v1)");
    eprintln!("  operators  http://{admin}   (/metrics /readyz /fleet)");
    eprintln!("  models     {models}");
    if config.is_embedded() {
        eprintln!(
            "  backends   {} simulated GPUs in this process: nothing is computed, only timed",
            backends.len()
        );
    } else {
        eprintln!("  backends   {}", backends.len());
    }
    let model = models.split(", ").next().unwrap_or("MODEL");
    let key = if config.keys.is_empty() { "" } else { " -H 'Authorization: Bearer $KEY'" };
    eprintln!(
        "\n  try  curl -N {scheme}://{listen}/v1/chat/completions -H 'Content-Type: application/json'{key} \\\n         \
         -d '{{\"model\":\"{model}\",\"stream\":true,\"messages\":[{{\"role\":\"user\",\"content\":\"Hello\"}}]}}'\n"
    );
}
