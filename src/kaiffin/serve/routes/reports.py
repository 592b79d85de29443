"""A run's report, shown: a page of its own that is nobody's. Torch-free.

It has its scripts inside, which this service's pages may not. The sandbox gives it an origin of its
own: it has no cookie of the service's, and may call nothing.
"""

from __future__ import annotations

from fastapi import APIRouter
from fastapi.responses import FileResponse

from kaiffin.foundation.run import Run
from kaiffin.serve.asking import run_job
from kaiffin.serve.jobs import Conflict
from kaiffin.serve.routes.common import ThingId, sends
from kaiffin.serve.service import Reader, Served

router = APIRouter(prefix="/api/v1/runs", tags=["runs"])
ALONE = {
    "content-security-policy": "sandbox allow-scripts; default-src 'none';"
    " script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data:; base-uri 'none';"
    " form-action 'none'; frame-ancestors 'none'",
}


@router.get("/{id}/report/shown", response_class=FileResponse, responses=sends("text/html"))
def shown(id: ThingId, caller: Reader, service: Served) -> FileResponse:
    """The report, to be looked at in a tab of its own."""
    path = service.studio.run(run_job(service, caller.owner, id).id)
    report = Run.open(path).report_path if Run.is_at(path) else None
    if report is None or not report.is_file():
        raise Conflict("there is no report yet.", "Ask for a job of kind report.")
    return FileResponse(report, media_type="text/html", headers=ALONE)
