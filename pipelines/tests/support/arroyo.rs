//! An Arroyo of its own: its REST API over HTTP, answering in the shapes that Arroyo 0.16 answers in, with jobs that
//! go through the states that Arroyo's go through. It runs no pipelines. A job that comes to run begins a checkpoint at
//! once, which moves its group; when it is looked at, it is finished, unless that is hindered.

use std::collections::HashSet;
use std::sync::Arc;

use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use axum::{Json, Router, middleware};
use parking_lot::Mutex;
use serde_json::{Value, json};

/// What there is, and how it behaves.
#[derive(Default)]
pub struct World {
    pub udfs: Vec<Value>,
    pub pipelines: Vec<Pipeline>,
    /// What was done, in order: changes only.
    pub events: Vec<String>,
    /// Functions that do not compile.
    pub broken: HashSet<String>,
    /// Pipelines whose text has this in it fail when they start.
    pub fails: Option<String>,
    /// Pipelines whose text has this in it run and then run into an error, again and again.
    pub flaps: Option<String>,
    /// Those that flap have finished a checkpoint before.
    pub flaps_late: bool,
    /// Texts with this in them are not planned.
    pub unplanned: Option<String>,
    /// Changes from now on until Arroyo is away: then it answers 503 for a while.
    pub away_after: Option<usize>,
    pub is_away: bool,
    /// Records keep moving in every job.
    pub is_busy: bool,
    /// Checkpoints begin and do not finish.
    pub is_blocked: bool,
    /// A stop with a checkpoint does not come to an end.
    pub never_stops: bool,
    /// Somebody else's version, which comes to run when one is made.
    pub rival: Option<String>,
    /// As Arroyo 0.15, which takes no variables.
    pub takes_no_variables: bool,
    /// Where the group stands, and whether with the note.
    pub group: (Vec<u64>, bool),
    pub lists: usize,
    ids: usize,
    clock: u64,
}

#[derive(Clone)]
pub struct Pipeline {
    pub id: String,
    pub name: String,
    pub query: String,
    pub state: String,
    /// States that it goes through, one a look.
    pub next: Vec<&'static str>,
    pub errors: Vec<Value>,
    /// Finished ones.
    pub checkpoints: usize,
    env_vars: Value,
    created_at: u64,
}

pub type Shared = Arc<Mutex<World>>;

/// Serves on a port of its own; the address for a client.
pub async fn serve() -> (Shared, String) {
    let world = Shared::default();
    let routes = Router::new()
        .route("/ping", get(async || Json(json!("Pong"))))
        .route("/udfs", get(udfs).post(create_udf))
        .route("/udfs/validate", post(validate_udf))
        .route("/udfs/{id}", delete(delete_udf))
        .route("/pipelines", get(pipelines).post(create_pipeline))
        .route("/pipelines/validate_query", post(validate_query))
        .route("/pipelines/{id}", delete(delete_pipeline).patch(patch_pipeline))
        .route("/pipelines/{id}/restart", post(restart_pipeline))
        .route("/pipelines/{id}/jobs", get(jobs))
        .route("/pipelines/{id}/jobs/{job}/errors", get(errors))
        .route("/pipelines/{id}/jobs/{job}/checkpoints", get(checkpoints))
        .route("/pipelines/{id}/jobs/{job}/operator_metric_groups", get(metrics))
        .layer(middleware::from_fn_with_state(world.clone(), away))
        .with_state(world.clone());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, Router::new().nest("/api/v1", routes)).await.unwrap() });
    (world, url)
}

async fn away(State(world): State<Shared>, request: axum::extract::Request, next: middleware::Next) -> Response {
    {
        let mut world = world.lock();
        if request.method() != axum::http::Method::GET && request.method() != axum::http::Method::HEAD {
            match &mut world.away_after {
                Some(0) => (world.is_away, world.away_after) = (true, None),
                Some(left) => *left -= 1,
                None => {}
            }
        }
        if world.is_away {
            return (StatusCode::SERVICE_UNAVAILABLE, "no healthy upstream").into_response();
        }
    }
    next.run(request).await
}

fn refuse(reason: &str) -> Response {
    (StatusCode::BAD_REQUEST, Json(json!({ "error": reason }))).into_response()
}

impl World {
    fn id(&mut self, kind: &str) -> String {
        self.ids += 1;
        format!("{kind}_{:010}", self.ids)
    }

    pub fn event(&mut self, event: impl Into<String>) {
        self.events.push(event.into());
    }

    fn pipeline(&mut self, id: &str) -> Option<&mut Pipeline> {
        self.pipelines.iter_mut().find(|pipeline| pipeline.id == id)
    }

    /// The version of a pipeline that there is, by its whole name.
    pub fn named(&self, name: &str) -> Option<&Pipeline> {
        self.pipelines.iter().find(|pipeline| pipeline.name == name)
    }

    /// Another pipeline, as somebody else has made it.
    pub fn add(&mut self, name: &str, state: &str) {
        let (id, created_at) = (self.id("pl"), self.ids as u64);
        let (name, query, state) = (name.to_owned(), String::new(), state.to_owned());
        self.pipelines.push(Pipeline {
            id,
            name,
            query,
            state,
            next: Vec::new(),
            errors: Vec::new(),
            checkpoints: 1,
            env_vars: json!({}),
            created_at,
        });
    }
}

fn name_of(definition: &str) -> String {
    let (_, rest) = definition.split_once("fn ").expect("it has a function");
    rest.split_once('(').expect("it has arguments").0.to_owned()
}

async fn udfs(State(world): State<Shared>) -> Json<Value> {
    Json(json!({ "data": world.lock().udfs }))
}

async fn validate_udf(State(world): State<Shared>, Json(body): Json<Value>) -> Json<Value> {
    let name = name_of(body["definition"].as_str().unwrap());
    let is_broken = world.lock().broken.contains(&name);
    let errors = if is_broken { vec!["error[E0425]: cannot find value `x` in this scope"] } else { vec![] };
    Json(json!({ "udf_name": name, "errors": errors }))
}

async fn create_udf(State(world): State<Shared>, Json(body): Json<Value>) -> Response {
    let mut world = world.lock();
    let name = name_of(body["definition"].as_str().unwrap());
    if world.broken.contains(&name) {
        return refuse("UDF is invalid");
    }
    if world.udfs.iter().any(|udf| udf["name"] == name.as_str()) {
        return refuse("udf with that name already exists");
    }
    let udf = json!({
        "id": world.id("udf"), "prefix": body["prefix"], "name": name, "language": "rust", "created_at": 1, "updated_at": 1,
        "definition": body["definition"], "description": body["description"], "dylib_url": "file:///tmp/udf.so",
    });
    world.udfs.push(udf.clone());
    world.event(format!("made {name}"));
    Json(udf).into_response()
}

async fn delete_udf(State(world): State<Shared>, Path(id): Path<String>) -> Response {
    let mut world = world.lock();
    let Some(at) = world.udfs.iter().position(|udf| udf["id"] == id.as_str()) else { return refuse("UDF not found") };
    let udf = world.udfs.remove(at);
    world.event(format!("deleted {}", udf["name"].as_str().unwrap()));
    Json(json!(null)).into_response()
}

async fn validate_query(State(world): State<Shared>, Json(body): Json<Value>) -> Json<Value> {
    let query = body["query"].as_str().unwrap();
    if world.lock().unplanned.as_ref().is_some_and(|text| query.contains(text)) {
        let span = json!({ "start": { "line": 97, "column": 1 }, "end": { "line": 97, "column": 9 } });
        let error = json!({ "message": "column 'body' not found", "span": span });
        return Json(json!({ "graph": null, "errors": [error, { "message": "and more" }] }));
    }
    Json(json!({ "graph": { "nodes": [], "edges": [] }, "errors": [] }))
}

fn shown(pipeline: &Pipeline) -> Value {
    json!({
        "id": pipeline.id, "name": pipeline.name, "query": pipeline.query, "udfs": [],
        "checkpoint_interval_micros": 2_000_000, "stop": "none", "created_at": pipeline.created_at, "action": "checkpoint",
        "action_text": "Stop", "action_in_progress": false, "graph": { "nodes": [], "edges": [] }, "preview": false,
        "state_url": null, "tags": {},
    })
}

async fn pipelines(State(world): State<Shared>, Query(page): Query<Vec<(String, String)>>) -> Json<Value> {
    let mut world = world.lock();
    world.lists += 1;
    let value = |key: &str| page.iter().find(|(name, _)| name == key).map(|(_, value)| value.clone());
    let limit: usize = value("limit").map_or(10, |limit| limit.parse().unwrap());
    let mut all: Vec<&Pipeline> = world.pipelines.iter().collect();
    all.sort_by_key(|pipeline| std::cmp::Reverse(pipeline.created_at));
    let skip =
        value("starting_after").map_or(0, |id| all.iter().position(|it| it.id == id).map_or(all.len(), |at| at + 1));
    let data: Vec<Value> = all.iter().skip(skip).take(limit).map(|pipeline| shown(pipeline)).collect();
    Json(json!({ "data": data, "hasMore": all.len() > skip + limit }))
}

async fn create_pipeline(State(world): State<Shared>, Json(body): Json<Value>) -> Response {
    let mut world = world.lock();
    let (name, query) = (body["name"].as_str().unwrap().to_owned(), body["query"].as_str().unwrap().to_owned());
    let has = |text: &Option<String>| text.as_ref().is_some_and(|text| query.contains(text));
    let next = match (has(&world.fails), has(&world.flaps)) {
        (true, _) => vec!["Compiling", "Scheduling", "Failed"],
        (_, true) => vec!["Compiling", "Scheduling", "Running", "Recovering", "Scheduling", "Running", "Recovering"],
        _ => vec!["Compiling", "Scheduling", "Running"],
    };
    let (id, created_at) = (world.id("pl"), world.ids as u64);
    let (state, env_vars) = ("Created".to_owned(), body["env_vars"].clone());
    let (errors, checkpoints) = (Vec::new(), 0);
    let pipeline = Pipeline { id, name: name.clone(), query, state, next, errors, checkpoints, env_vars, created_at };
    let answer = shown(&pipeline);
    world.pipelines.push(pipeline);
    world.event(format!("created {name}"));
    if let Some(rival) = world.rival.take() {
        world.add(&rival, "Running");
    }
    Json(answer).into_response()
}

async fn patch_pipeline(State(world): State<Shared>, Path(id): Path<String>, Json(body): Json<Value>) -> Response {
    let mut world = world.lock();
    let (stop, never_stops) = (body["stop"].as_str().unwrap().to_owned(), world.never_stops);
    let Some(pipeline) = world.pipeline(&id) else { return refuse("Pipeline not found") };
    let is_over = matches!(pipeline.state.as_str(), "Stopped" | "Failed" | "Finished");
    match stop.as_str() {
        "checkpoint" if never_stops => pipeline.next = vec!["CheckpointStopping"],
        "none" if is_over => pipeline.next = vec!["Stopped", "Scheduling", "Running"],
        "checkpoint" if !is_over => {
            pipeline.next = vec!["CheckpointStopping", "CheckpointStopping", "Stopped"];
            pipeline.checkpoints += 1;
        }
        "immediate" if !is_over => pipeline.next = vec!["Stopping", "Stopped"],
        _ => {}
    }
    let (name, answer) = (pipeline.name.clone(), shown(pipeline));
    world.event(format!("stop {stop} {name}"));
    Json(answer).into_response()
}

async fn restart_pipeline(State(world): State<Shared>, Path(id): Path<String>) -> Response {
    let mut world = world.lock();
    let is_doomed = world.fails.is_some();
    let Some(pipeline) = world.pipeline(&id) else { return refuse("Pipeline not found") };
    pipeline.next = vec!["Failed", "Scheduling", if is_doomed { "Failed" } else { "Running" }];
    let (name, answer) = (pipeline.name.clone(), shown(pipeline));
    world.event(format!("restart {name}"));
    Json(answer).into_response()
}

async fn delete_pipeline(State(world): State<Shared>, Path(id): Path<String>) -> Response {
    let mut world = world.lock();
    let Some(at) = world.pipelines.iter().position(|it| it.id == id) else { return refuse("Pipeline not found") };
    if !matches!(world.pipelines[at].state.as_str(), "Stopped" | "Failed" | "Finished") {
        return refuse(
            "Pipeline's jobs must be in a terminal state (stopped, finished, or failed) before it can be deleted",
        );
    }
    let name = world.pipelines.remove(at).name;
    world.event(format!("deleted {name}"));
    Json(json!(null)).into_response()
}

async fn jobs(State(world): State<Shared>, Path(id): Path<String>) -> Response {
    let mut world = world.lock();
    let (takes_no_variables, flaps_late) = (world.takes_no_variables, world.flaps_late);
    let is_about_to_run =
        world.pipeline(&id).is_some_and(|it| it.state != "Running" && it.next.first() == Some(&"Running"));
    if is_about_to_run {
        // What was read is noted when the first checkpoint begins, whatever becomes of it.
        world.group = (vec![40, 41], false);
    }
    let Some(pipeline) = world.pipeline(&id) else { return refuse("Pipeline not found") };
    if !pipeline.next.is_empty() {
        pipeline.state = pipeline.next.remove(0).to_owned();
        if pipeline.state == "Recovering" {
            pipeline.checkpoints += usize::from(flaps_late);
            let id = format!("lm_{}", pipeline.errors.len());
            pipeline.errors.push(json!({
                "id": id, "created_at": pipeline.errors.len(), "operator_id": "async_udf_4", "task_index": 0, "level": "error",
                "message": "task panicked", "details": "fetch_body: no bucket\nstack", "error_domain": "internal",
            }));
        }
    }
    let failure = (pipeline.state == "Failed").then(|| json!({ "error": "worker exited", "domain": "internal" }));
    let mut job = json!({
        "id": format!("job_{id}"), "pipeline_id": id, "running_desired": true, "state": pipeline.state, "run_id": 1,
        "start_time": 1, "finish_time": null, "tasks": 9, "failure_reason": failure, "created_at": 1, "scheduler_config": {},
        "env_vars": pipeline.env_vars,
    });
    if takes_no_variables {
        job.as_object_mut().unwrap().remove("env_vars");
    }
    Json(json!({ "data": [job] })).into_response()
}

async fn errors(State(world): State<Shared>, Path((id, _)): Path<(String, String)>) -> Response {
    let mut world = world.lock();
    let Some(pipeline) = world.pipeline(&id) else { return refuse("Job not found") };
    Json(json!({ "data": pipeline.errors, "hasMore": false })).into_response()
}

async fn checkpoints(State(world): State<Shared>, Path((id, _)): Path<(String, String)>) -> Response {
    let mut world = world.lock();
    let is_blocked = world.is_blocked;
    let Some(pipeline) = world.pipeline(&id) else { return refuse("Job not found") };
    let one = |epoch, finish_time: Option<u64>| {
        json!({
            "epoch": epoch, "backend": "parquet", "checkpoint_type": "scheduled", "start_time": 1,
            "finish_time": finish_time, "events": [],
        })
    };
    let mut shown: Vec<Value> = (1..=pipeline.checkpoints).map(|epoch| one(epoch, Some(2))).collect();
    if pipeline.state == "Running" && is_blocked {
        // One that a restart ends is shown no more.
        shown.push(one(pipeline.checkpoints + 1, None));
    } else if pipeline.state == "Running" {
        pipeline.checkpoints += 1;
        shown.push(one(pipeline.checkpoints, Some(2)));
    }
    Json(json!({ "data": shown })).into_response()
}

/// Rates of ten steps of 2 s; each look is 10 s later.
async fn metrics(State(world): State<Shared>) -> Json<Value> {
    let mut world = world.lock();
    world.clock += 10_000_000;
    let (clock, is_busy) = (world.clock, world.is_busy);
    let rate =
        |step: u64| if is_busy { 100.0 + step as f64 } else { 100.0 * 0.9_f64.powi((clock / 2_000_000 + step) as i32) };
    let steps =
        (0..10).map(|step| json!({ "time": 1_764_000_000_000_000 + clock + step * 2_000_000, "value": rate(step) }));
    let subtasks = json!([{ "index": 0, "metrics": steps.collect::<Vec<_>>() }]);
    let groups =
        ["messages_recv", "messages_sent", "backpressure"].map(|name| json!({ "name": name, "subtasks": subtasks }));
    Json(json!({ "data": [{ "node_id": 1, "metric_groups": groups }] }))
}
